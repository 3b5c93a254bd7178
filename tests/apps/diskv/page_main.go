// SPDX-License-Identifier: MIT

// page_main.go - the functions of core/DISKV.md beside diskv: the same calls, the same answers.
//
//	page MOUNTPOINT FOLDER    FOLDER: of a store of diskv's own, flat
package main

import (
	"bytes"
	"fmt"
	"io/ioutil"
	"os"
	"sort"

	"github.com/peterbourgon/diskv"
)

var mountpoint string

func expect(what string, good bool) {
	if !good {
		fmt.Fprintln(os.Stderr, "not as diskv:", what)
		os.Exit(1)
	}
}

func all(from string, keys <-chan string) (out []string) {
	for key := range keys {
		if key > from {
			out = append(out, key)
		}
	}
	sort.Strings(out)
	return
}

func main() {
	mountpoint = os.Args[1]
	d := diskv.New(diskv.Options{BasePath: os.Args[2], CacheSizeMax: 1 << 20})
	text := bytes.Repeat([]byte("many words "), 20000)
	keys := []string{"a", "abc", "odd [*?] name", "x.zst", "b"}
	for i, key := range keys {
		val := text[:i*40000]
		expect("Write", Write(key, val) == nil && d.Write(key, val) == nil)
	}
	expect("Write of no key", Write("", text) != nil && d.Write("", text) != nil)
	expect("WriteStream", WriteStream("s", bytes.NewReader(text), true) == nil &&
		d.WriteStream("s", bytes.NewReader(text), true) == nil)
	for _, key := range append(keys, "s", "none") {
		mine, err := Read(key)
		his, herr := d.Read(key)
		expect("Read "+key, bytes.Equal(mine, his) && (err == nil) == (herr == nil))
		expect("Has "+key, Has(key) == d.Has(key))
	}
	rc, err := ReadStream("s")
	expect("ReadStream", err == nil)
	mine, err := ioutil.ReadAll(rc)
	expect("ReadStream to its end", err == nil && bytes.Equal(mine, text) && rc.Close() == nil)

	for _, prefix := range []string{"", "a", "odd [", "zz"} {
		var seen []string
		err := KeysPrefix(prefix, func(key string) bool { seen = append(seen, key); return true })
		want := all("", d.KeysPrefix("", nil))
		var his []string
		for _, key := range want {
			if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
				his = append(his, key)
			}
		}
		expect("KeysPrefix "+prefix, err == nil && fmt.Sprint(seen) == fmt.Sprint(his))
	}
	some, err := KeysFrom("abc", 2)
	expect("KeysFrom", err == nil && fmt.Sprint(some) == fmt.Sprint(all("abc", d.Keys(nil))[:2]))

	expect("Erase", Erase("a") == nil && d.Erase("a") == nil && !Has("a"))
	expect("Erase of none", os.IsNotExist(Erase("a")) && os.IsNotExist(d.Erase("a")))
	src := os.Args[2] + ".src"
	for _, move := range []bool{false, true} {
		expect("a source", ioutil.WriteFile(src, text, 0644) == nil)
		expect("Import", Import(src, "i", move) == nil)
		_, err := os.Stat(src)
		mine, rerr := Read("i")
		expect("Import to its end", os.IsNotExist(err) == move && rerr == nil && bytes.Equal(mine, text))
	}
	expect("Import of a folder", Import(os.Args[2], "f", false) != nil)
	expect("EraseAll", EraseAll() == nil && d.EraseAll() == nil)
	some, err = KeysFrom("", 10)
	expect("EraseAll to its end", err == nil && len(some) == 0)
	fmt.Println("as diskv")
}
