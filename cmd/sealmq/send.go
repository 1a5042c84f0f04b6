package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/client"
)

const sendHelp = `Seals a message for the owner of MAILBOX and returns when a majority of the nodes has it on disk.

The message is TEXT, or the contents of a file (-f FILE), or what comes on stdin. Mind that the
arguments of a command can be seen in the list of processes by every user of this machine, and stay
in the shell's history: a secret belongs in a file or a pipe.

If the answer was lost, it is not known whether the message is stored (exit code 12). With
--dedup-key, sending the same again is safe for ten minutes: it is stored once.`

func newSend(a *app) *cobra.Command {
	s := &send{app: a}
	c := &cobra.Command{
		Use: "send MAILBOX [TEXT]", Short: "Send a sealed message", Long: sendHelp,
		Example: `  sealmq send orders "17 boxes"` + "\n" + `  sealmq send orders -f order.pdf --dedup-key order-17` + "\n" +
			`  tar c . | sealmq send backups`,
		Args: cobra.RangeArgs(1, 2),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("dedup-key") && s.key == "" {
			return usage("--dedup-key is empty: the message would be stored as often as it is sent")
		}
		return s.run(cmd.Context(), args[0], args[1:])
	}
	c.Flags().StringVarP(&s.file, "file", "f", "", "send the contents of `FILE`; - is stdin")
	c.Flags().StringVar(&s.key, "dedup-key", "", "`KEY` under which the message is stored once, however often it is sent")
	c.Flags().StringVar(&s.contentType, "content-type", "",
		"`TYPE` that tells the receiver, and nobody else, what the body is")
	c.Flags().BoolVar(&s.reply, "reply", false, "wait for the answer in your own mailbox and print it")
	return c
}

type send struct {
	*app
	file, key, contentType string
	reply                  bool
}

func (s *send) run(ctx context.Context, mailbox string, text []string) error {
	body, err := s.body(text)
	if err != nil {
		return err
	}
	return s.with(ctx, func(ctx context.Context, c *client.Client) error {
		var options []client.SendOption
		if s.key != "" {
			options = append(options, client.Key(s.key))
		}
		if s.contentType != "" {
			options = append(options, client.ContentType(s.contentType))
		}
		correlation := make([]byte, 16)
		rand.Read(correlation)
		if s.reply {
			options = append(options, client.ReplyTo(c.Principal()), client.Correlation(correlation))
		}
		began := time.Now()
		sent, err := c.Send(ctx, mailbox, body, options...)
		if err != nil {
			return s.maybeStored(err)
		}
		doc := sentDoc{
			Kind: "Sent", Mailbox: mailbox, ID: sent.ID.String(), Seq: sent.Seq, Duplicate: sent.Duplicate,
			BodyBytes: len(body), SealedBytes: sent.SealedBytes, StoredMS: millis(time.Since(began)),
		}
		if !s.reply {
			return s.out.document(doc)
		}
		return s.answer(ctx, c, doc, correlation, began)
	})
}

// maybeStored says what to do where the message may be stored.
func (s *send) maybeStored(err error) error {
	var e *client.Error
	switch {
	case !errors.As(err, &e) || e.Outcome != client.Unknown:
		return err
	case s.key != "":
		return advise(err, "it may be stored; sending again with the same --dedup-key is safe")
	}
	return advise(err, "it may be stored, and sending it again may store it twice: ask its receiver.\n"+
		"With --dedup-key KEY from the first time on, sending again is safe")
}

// body is what is to be sent: an argument, a file, or stdin if somebody pipes something in.
func (s *send) body(text []string) ([]byte, error) {
	switch {
	case len(text) == 1 && s.file != "":
		return nil, usage("TEXT and --file are two messages: give one")
	case len(text) == 1:
		return limited(strings.NewReader(text[0]))
	case s.file != "" && s.file != "-":
		f, err := os.Open(s.file)
		if err != nil {
			return nil, usage("%s: %s", s.file, plainFileError(err))
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, usage("%s: is a directory", s.file)
		}
		return limited(f)
	case s.file == "" && isTerminal(s.stdin):
		return nil, usage("nothing to send: give TEXT, --file FILE, or pipe something in")
	}
	return limited(s.stdin)
}

func limited(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, bodyLimit+1))
	if err != nil {
		return nil, err
	}
	if len(body) > bodyLimit {
		return nil, usage("the message is larger than %d bytes, which is the limit", bodyLimit)
	}
	return body, nil
}

// answer waits for the message that answers the one that was sent, and prints both. Messages that have nothing to do
// with it go back into the mailbox.
func (s *send) answer(ctx context.Context, c *client.Client, sent sentDoc, correlation []byte, began time.Time) error {
	if s.out.json {
		if err := s.out.document(sent); err != nil {
			return err
		}
	}
	own := c.Principal()
	var others []*client.Message
	defer func() { releaseAll(context.WithoutCancel(ctx), c, others) }()
	for {
		messages, err := c.Receive(ctx, own, client.Max(16), client.Wait(20*time.Second))
		if err != nil {
			if !s.out.json && !s.out.quiet {
				err = errors.Join(err, s.out.document(sent))
			}
			return unanswered(err, own)
		}
		for i, m := range messages {
			if !bytes.Equal(m.Correlation, correlation) {
				others = append(others, m)
				continue
			}
			others = append(others, messages[i+1:]...)
			if err := s.printAnswer(sent, own, m, time.Since(began)); err != nil {
				others = append(others, m)
				return err
			}
			return m.Ack(ctx)
		}
	}
}

// unanswered says what a failure means when the message is stored. Whatever it is, sending again would store it twice:
// the error says nothing about trying again.
func unanswered(err error, own string) error {
	p := explain(err, false)
	f := &failure{exit: p.exit, code: p.code, message: "the message is stored; waiting for the answer: " + p.message,
		hint: "do not send it again. Its receiver may answer later: sealmq recv " + own}
	if p.exit == exitUnreachable || p.exit == exitUnknown {
		f.exit, f.code = exitPartial, "no_answer"
	}
	if p.code == string(client.CodeTimeout) {
		f.message = "the message is stored; no answer came in time"
	}
	return f
}

func (s *send) printAnswer(sent sentDoc, own string, m *client.Message, took time.Duration) error {
	if err := s.out.received(); err != nil {
		return err
	}
	switch {
	case s.out.json:
		return s.out.document(messageOf(own, m))
	case s.out.quiet:
		return s.out.body(m.Body)
	}
	return s.out.document(answeredDoc{sent, messageOf(own, m), took})
}

// answeredDoc shows a message and its answer in one table.
type answeredDoc struct {
	sent   sentDoc
	answer messageDoc
	took   time.Duration
}

func (d answeredDoc) render(p *page) {
	text := fmt.Sprintf("%d bytes", len(d.answer.Body))
	if printable(d.answer.Body) {
		text = strconv.Quote(string(d.answer.Body))
	}
	from := fmt.Sprintf("%.1f ms  from %s, seal and signature verified", millis(d.took), d.answer.Sender)
	p.table(nil, append(d.sent.rows(), []string{"reply", text, from}))
}

// printable reports whether a body can be shown on a terminal as it is.
func printable(b []byte) bool {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }
	return utf8.Valid(b) && !bytes.ContainsFunc(b, hidden)
}
