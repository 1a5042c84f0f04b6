package main

import (
	"context"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// app is one invocation: where it reads and writes, and what the global flags say.
type app struct {
	out   *output
	stdin io.Reader

	context string        // --context
	as      string        // --as
	format  string        // -o
	timeout time.Duration // --timeout
	waits   bool          // --timeout was given: nodes that all refuse are waited for as long
	yes     bool          // --yes

	began bool // a command has begun: errors before it are about how it was called
}

const rootHelp = `SealMQ carries sealed messages between services through mailboxes that three or more nodes replicate.

Try it:    sealmq dev                                a cluster on this machine
           sealmq send echo "hello" --reply          in another terminal
Watch it:  sealmq demo DIR                           every file in DIR through three nodes, one of them killed
`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "sealmq",
		Short:         "An encrypted store-and-forward message queue",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.begin(cmd)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.context, "context", "", "context `FILE` (else $SEALMQ_CONTEXT, else ~/.config/sealmq/context.toml)")
	flags.StringVar(&a.as, "as", "", "act as another identity of the context, by `NAME`")
	flags.StringVarP(&a.format, "output", "o", "table", "`FORMAT` of what is printed: table or json")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second,
		"how long one request may take; when given, also how long to wait for nodes that all refuse the connection")
	flags.BoolVar(&a.yes, "yes", false, "answer yes to what would be asked")
	flags.BoolVarP(&a.out.quiet, "quiet", "q", false, "print data and errors only")
	flags.BoolVarP(&a.out.verbose, "verbose", "v", false, "print more about what happens")
	root.AddGroup(
		&cobra.Group{ID: "use", Title: "Use:"},
		&cobra.Group{ID: "access", Title: "Mailboxes, identities, rights:"},
		&cobra.Group{ID: "run", Title: "Run and look after:"},
	)
	root.SetHelpCommandGroupID("run")
	root.SetCompletionCommandGroupID("run")
	root.SetOut(a.out.stdout)
	root.SetErr(a.out.stderr)
	addCommands(root, "use", newSend(a), newRecv(a), newAck(a), newNack(a), newExtend(a))
	addCommands(root, "access", newMailbox(a), newID(a), newTrust(a), newGrant(a))
	root.AddCommand(topics()...)
	addCommands(root, "run", newDev(a), newDemo(a), newInit(a), newServer(a), newStatus(a), newConfig(a), newBench(a),
		newDebug(a), newVersion(a))
	return root
}

func addCommands(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// begin runs before every command, when flags and arguments are known to be in order.
func (a *app) begin(cmd *cobra.Command) error {
	switch a.format {
	case "table":
	case "json":
		a.out.json = true
	default:
		return usage("-o %s: the formats are table and json", a.format)
	}
	if a.out.quiet && a.out.verbose {
		return usage("--quiet and --verbose say the opposite")
	}
	if a.timeout <= 0 {
		return usage("--timeout must be above zero")
	}
	a.waits = cmd.Flags().Changed("timeout")
	a.began = true
	return nil
}

// untilSignal ends with the first signal that asks this program to stop.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var names []string
		for _, sub := range cmd.Commands() {
			names = append(names, sub.Name())
		}
		return usage("say which: sealmq %s %s", cmd.Name(), strings.Join(names, "|"))
	}}
	c.AddCommand(commands...)
	return c
}
