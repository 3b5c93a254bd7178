// SPDX-License-Identifier: MIT

// driver.go - a store of diskv from the command line: what diskv itself writes and reads.
//
//	driver [-transform T] [-compress C] [-tmp DIR] BASE COMMAND [ARGUMENT]...
//
//	T  flat; block:N (diskv's examples); path:SUFFIX (an AdvancedTransform: slashes are folders)
//	C  none, gzip, gzip:LEVEL, zlib, zlib:LEVEL, dict:FILE
//
//	put KEY            the value is standard input        get KEY
//	has KEY            "yes" or "no"                      erase KEY
//	import FILE KEY    keys [PREFIX]                      (one a line, sorted)
//	fill N             keys k0 to kN-1 and some odd ones  check N    that they are
//	spin KEY UNTIL     writes KEY over and over until the file UNTIL is there; each value is one
//	                   line of equal digits, of another length and digit each time
package main

import (
	"bytes"
	"fmt"
	"io/ioutil"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/peterbourgon/diskv"
)

func fatal(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func level(s string, otherwise int) int {
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	fatal("level", err)
	return n
}

func compression(s string) diskv.Compression {
	name, rest := s, ""
	if i := strings.IndexByte(s, ':'); i >= 0 {
		name, rest = s[:i], s[i+1:]
	}
	switch name {
	case "gzip":
		return diskv.NewGzipCompressionLevel(level(rest, -1))
	case "zlib":
		return diskv.NewZlibCompressionLevel(level(rest, -1))
	case "dict":
		dict, err := ioutil.ReadFile(rest)
		fatal("dictionary", err)
		return diskv.NewZlibCompressionLevelDict(6, dict)
	}
	return nil
}

// The whole blocks of n bytes are folders, as in diskv's own examples.
func block(n int) func(string) []string {
	return func(s string) []string {
		var path []string
		for i := 0; i+n <= len(s); i += n {
			path = append(path, s[i:i+n])
		}
		return path
	}
}

// Keys() finds the files of .diskvfs too: they get the empty key, which is no key.
func ours(p *diskv.PathKey) bool {
	return len(p.Path) > 0 && p.Path[0] == ".diskvfs"
}

func options(base, transform, tmp string, c diskv.Compression) diskv.Options {
	o := diskv.Options{BasePath: base, TempDir: tmp, Compression: c}
	o.InverseTransform = func(p *diskv.PathKey) string {
		if ours(p) {
			return ""
		}
		return p.FileName
	}
	switch {
	case strings.HasPrefix(transform, "block:"):
		o.Transform = block(level(transform[6:], 0))
	case strings.HasPrefix(transform, "path:"):
		suffix := transform[5:]
		o.AdvancedTransform = func(key string) *diskv.PathKey {
			parts := strings.Split(key, "/")
			last := len(parts) - 1
			return &diskv.PathKey{Path: parts[:last], FileName: parts[last] + suffix}
		}
		o.InverseTransform = func(p *diskv.PathKey) string {
			if ours(p) || !strings.HasSuffix(p.FileName, suffix) {
				return ""
			}
			name := p.FileName[:len(p.FileName)-len(suffix)]
			return strings.Join(append(append([]string{}, p.Path...), name), "/")
		}
	}
	return o
}

// Values of no bytes, of a few, of more than a window, and text.
func value(key string, i int) []byte {
	sizes := []int{0, 1, 100, 5000, 70000, 300000}
	return bytes.Repeat([]byte(key+" "), sizes[i%len(sizes)]/(len(key)+1)+i%2)
}

func names(n int, transform string) []string {
	keys := []string{"odd [*?] name", "new\nline", "x.zst", "%2e", "x.zst.raw"}
	if strings.HasPrefix(transform, "path:") {
		keys = append(keys, "deep/er/key", "deep/key")
	}
	for i := 0; i < n; i++ {
		keys = append(keys, fmt.Sprintf("k%d%s", i, strings.Repeat("x", i%4)))
	}
	return keys
}

func spin(d *diskv.Diskv, key, until string) {
	for i := 0; ; i++ {
		line := strings.Repeat(strconv.Itoa(i%10), 1000+i*37%90000) + "\n"
		fatal("write", d.WriteString(key, line))
		if _, err := os.Stat(until); err == nil {
			return
		}
	}
}

func main() {
	args, transform, compress, tmp := os.Args[1:], "flat", "none", ""
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-transform":
			transform = args[1]
		case "-compress":
			compress = args[1]
		case "-tmp":
			tmp = args[1]
		}
		args = args[2:]
	}
	d := diskv.New(options(args[0], transform, tmp, compression(compress)))
	command, args := args[1], args[2:]
	switch command {
	case "put":
		fatal("put", d.WriteStream(args[0], os.Stdin, true))
	case "get":
		v, err := d.Read(args[0])
		fatal("get "+args[0], err)
		os.Stdout.Write(v)
	case "has":
		fmt.Println(map[bool]string{true: "yes", false: "no"}[d.Has(args[0])])
	case "erase":
		fatal("erase", d.Erase(args[0]))
	case "import":
		fatal("import", d.Import(args[0], args[1], false))
	case "keys":
		prefix := strings.Join(args, "")
		var keys []string
		for key := range d.KeysPrefix(prefix, nil) {
			if key != "" {
				keys = append(keys, key)
			}
		}
		sort.Strings(keys)
		for _, key := range keys {
			fmt.Println(key)
		}
	case "fill":
		for i, key := range names(level(args[0], 0), transform) {
			fatal("fill "+key, d.Write(key, value(key, i)))
		}
	case "check":
		for i, key := range names(level(args[0], 0), transform) {
			v, err := d.Read(key)
			fatal("check "+key, err)
			if !bytes.Equal(v, value(key, i)) {
				fatal("check "+key, fmt.Errorf("%d bytes, not %d", len(v), len(value(key, i))))
			}
		}
	case "spin":
		spin(d, args[0], args[1])
	default:
		fatal(command, fmt.Errorf("no such command"))
	}
}
