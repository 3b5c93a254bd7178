#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The Go of core/DISKV.md: taken out of the page, built with what calls it and diskv itself
# (diskv/page_main.go), run on a mount: packed by zstd, under each transform, and in diskv's layout.
. "$(dirname "$0")/../mount/harness.sh"
need go
gopath=/usr/share/gocode
[ -e "$gopath/src/github.com/peterbourgon/diskv/diskv.go" ] || skip "golang-github-peterbourgon-diskv-dev is not installed"
page=$here/../../core/DISKV.md

build=${DISKV_BUILD:-$T/build}
mkdir -p "$build" "$T/src"
export GO111MODULE=off GOPATH=$gopath GOFLAGS= GOPROXY=off GOCACHE=$build/cache CGO_ENABLED=0
{
	printf '// SPDX-License-Identifier: MIT\npackage main\n\nimport (\n'
	printf '\t"%s"\n' errors io io/fs os path/filepath strings
	printf ')\n\n'
	sed -n '/^```go$/,/^```$/{/^```/d;p}' "$page"
} >"$T/src/page.go"
cp "$here/../apps/diskv/page_main.go" "$T/src/"

claim "the page's functions build, as gofmt lays them out"
gofmt -l "$T/src/page.go" >"$T/layout"
[ ! -s "$T/layout" ] || fail "$(gofmt -d "$T/src/page.go")"
flock "$build" go build -o "$T/page" "$T/src/page.go" "$T/src/page_main.go" || fail "they do not build"

for init in '--transform path' '--transform split:3' '--transform hash:sha256:2x1' \
	'--layout diskv:gzip --transform flat'; do
	claim "with $init each does what diskv's method does"
	rm -rf "$S" "$T/his"
	mk_store $init
	mnt_up -o settle=0
	[ "$("$T/page" "$M" "$T/his")" = 'as diskv' ] || fail "with $init"
	mnt_down
done
