package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// topics are pages of help without a command.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "exit-codes", Short: "What the exit code says", Long: exitCodesHelp()},
		{Use: "configuration", Short: "Every setting of a node", Long: configurationHelp()},
		{Use: "environment", Short: "What is read from the environment", Long: environmentHelp},
	}
}

const environmentHelp = `SEALMQ_CONTEXT            context file, when --context is not given
SEALMQ_SECTION_KEY        a setting of "sealmq server": client.listen is SEALMQ_CLIENT_LISTEN
CREDENTIALS_DIRECTORY     where cred:NAME is looked for (set by systemd)
XDG_CONFIG_HOME, HOME     where sealmq/context.toml is looked for`

func exitCodesHelp() string {
	rows := [][]string{{"CODE", "MEANING", "TRY AGAIN"}}
	for _, c := range exitCodes {
		rows = append(rows, []string{fmt.Sprint(c.code), c.meaning, c.again})
	}
	return columns(rows)
}

const configurationIntro = `A node reads one TOML file, made by "sealmq init". A flag of "sealmq server" comes
before a variable of the environment, that before the file, that before the default.
Paths count from the file. Unknown keys are refused.`

func configurationHelp() string {
	rows := [][]string{{"KEY", "DEFAULT", "WHAT IT IS"}}
	for _, k := range keys {
		rows = append(rows, []string{k.name, k.value, k.help})
	}
	return configurationIntro + "\n\n" + columns(rows)
}

// columns lays out rows under their first one.
func columns(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	w.Flush()
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n")
}
