package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/internal/local"
	"github.com/sealmq/sealmq/internal/pki"
)

func newID(a *app) *cobra.Command {
	i := &idCommand{app: a}
	c := group("id", "Make and show identities", i.create(), i.show(), i.list(), i.sign())
	c.PersistentFlags().StringVar(&i.dir, "dir", "", "`DIR` that holds the identities (else beside the context's)")
	return c
}

type idCommand struct {
	*app
	dir string
	ca  string
}

// parent is the directory that holds the identities, and the context if there is one.
func (i *idCommand) parent() (string, *client.Context, error) {
	ctx, err := i.loadContext()
	if i.dir != "" {
		if err != nil {
			ctx = nil
		}
		return i.dir, ctx, nil
	}
	if err != nil {
		return "", nil, withHint(err, "name a directory with --dir DIR")
	}
	return filepath.Dir(ctx.IdentityDir("")), ctx, nil
}

const idNewHelp = `Makes an identity: a key that signs and seals, and a key for connections with a certificate.

The certificate is signed here if the cluster's client authority is at hand: --ca DIR, or beside the
context. Otherwise a certificate request is printed. Whoever has the authority signs it with "sealmq
id sign", and its answer goes into DIR/NAME/client.crt.`

func (i *idCommand) create() *cobra.Command {
	var operator bool
	c := &cobra.Command{Use: "new NAME", Short: "Make an identity", Long: idNewHelp, Args: cobra.ExactArgs(1)}
	c.Flags().StringVar(&i.ca, "ca", "", "`DIR` with the cluster's authorities")
	c.Flags().BoolVar(&operator, "operator", false,
		"sign with the operator authority: an operator may do everything but read and send")
	c.RunE = func(_ *cobra.Command, args []string) error {
		name := args[0]
		parent, ctx, err := i.parent()
		if err != nil {
			return err
		}
		ca := i.authorityDir(ctx)
		role := local.Service
		if operator {
			role = local.Operator
			if ca == "" {
				return usage("--operator needs the operator authority: --ca DIR")
			}
		}
		dir := filepath.Join(parent, name)
		var request []byte
		id, err := makeIdentity(dir, name, func(dir string) (err error) {
			if ca != "" {
				return noAuthority(ca, role, local.Issue(ca, dir, name, role))
			}
			var key []byte
			if request, key, err = pki.NewRequest(name); err != nil {
				return err
			}
			return pki.Leaf{KeyPEM: key}.Save("", filepath.Join(dir, clientKey))
		})
		if err != nil {
			return err
		}
		d := identityOf(id)
		d.Request = string(request)
		if request != nil {
			i.out.say("have this request signed (sealmq id sign), and put the certificate into %s",
				filepath.Join(dir, "client.crt"))
		}
		return i.out.document(d)
	}
	return c
}

// noAuthority says of an error that means it that the authority which signs for a role is not there.
func noAuthority(ca string, role local.Role, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	kind := pki.Client
	if role == local.Operator {
		kind = pki.Operator
	}
	return notThere("it is made by `sealmq init`; name its directory with --ca", "no %s authority in %s", kind, ca)
}

// authorityDir is where the authorities are at hand, or nothing.
func (i *idCommand) authorityDir(ctx *client.Context) string {
	if i.ca != "" || ctx == nil {
		return i.ca
	}
	beside := filepath.Dir(ctx.CAFile())
	if _, err := os.Stat(pki.KeyFile(beside, pki.Client)); err != nil {
		return ""
	}
	return beside
}

func (i *idCommand) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show an identity; without a name the one that commands act as",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			parent, ctx, err := i.parent()
			if err != nil {
				return err
			}
			name := i.as
			if len(args) == 1 {
				name = args[0]
			}
			if name == "" {
				if ctx == nil || i.dir != "" {
					return usage("say which identity")
				}
				name = filepath.Base(ctx.IdentityDir(""))
			}
			d, err := readIdentity(filepath.Join(parent, name))
			if err != nil {
				return err
			}
			return i.out.document(d)
		},
	}
}

func (i *idCommand) list() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the identities that are here",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			parent, _, err := i.parent()
			if err != nil {
				return err
			}
			items, err := identities(parent)
			if err != nil {
				return err
			}
			return i.out.document(identityListDoc{Kind: "IdentityList", Items: items})
		},
	}
}

func (i *idCommand) sign() *cobra.Command {
	var ca string
	c := &cobra.Command{
		Use:   "sign [FILE]",
		Short: "Sign a certificate request with the client authority; from stdin without a file",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var request []byte
			var err error
			if len(args) == 1 {
				request, err = os.ReadFile(args[0])
			} else {
				request, err = io.ReadAll(io.LimitReader(i.stdin, 1<<20))
			}
			if err != nil {
				return err
			}
			if ca == "" {
				ctx, err := i.loadContext()
				if err != nil {
					return withHint(err, "name the authority with --ca DIR")
				}
				ca = filepath.Dir(ctx.CAFile())
			}
			authority, err := pki.LoadAuthority(ca, pki.Client)
			if err := noAuthority(ca, local.Service, err); err != nil {
				return err
			}
			certificate, err := authority.IssueRequest(request, 0)
			if err != nil {
				return usage("%v", err)
			}
			return i.out.document(certificateDoc{Kind: "Certificate", PEM: string(certificate)})
		},
	}
	c.Flags().StringVar(&ca, "ca", "", "`DIR` with the cluster's authorities (else beside the context)")
	return c
}

type certificateDoc struct {
	Kind string `json:"kind"`
	PEM  string `json:"pem"`
}

func (d certificateDoc) render(p *page) { p.b.WriteString(d.PEM) }
