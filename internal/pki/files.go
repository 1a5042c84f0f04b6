package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"runtime"
)

// maxFileBytes bounds what is read as a certificate or key.
const maxFileBytes = 1 << 20

// FileError says which file is wrong and how.
type FileError struct {
	Path   string
	Reason string
}

func (e *FileError) Error() string { return e.Path + ": " + e.Reason }

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &FileError{path, "is not a regular file"}
	}
	if info.Size() > maxFileBytes {
		return nil, &FileError{path, "is too large for a certificate or key"}
	}
	return os.ReadFile(path)
}

// readKey reads a private key, and refuses one that others may read.
func readKey(path string) (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, &FileError{path,
			fmt.Sprintf("may be read by others (mode %04o); run: chmod 600 %s", info.Mode().Perm(), path)}
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, &FileError{path, "is not a PKCS #8 private key in PEM"}
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, &FileError{path, "does not parse as a private key"}
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, &FileError{path, "is not an ECDSA key"}
	}
	return key, nil
}

// readCerts reads one or more certificates.
func readCerts(path string) ([]*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, &FileError{path, "holds a " + block.Type + " where certificates belong"}
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &FileError{path, "holds a certificate that does not parse"}
		}
		certs = append(certs, cert)
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, &FileError{path, "ends inside a certificate"}
	}
	if len(certs) == 0 {
		return nil, &FileError{path, "holds no certificate in PEM"}
	}
	return certs, nil
}

// Authorities returns of which kind and cluster the authorities are whose certificates a file holds.
func Authorities(path string) ([]Name, error) {
	certs, err := readCerts(path)
	if err != nil {
		return nil, err
	}
	var all []Name
	for _, cert := range certs {
		name, err := authorityOf(cert)
		if err != nil {
			return nil, &FileError{path, err.Error()}
		}
		all = append(all, name)
	}
	return all, nil
}
