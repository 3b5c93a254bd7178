#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A directory is read again and again while others make, remove, replace and write files in it, in the
# mount and in the store, and while values change their form (lister.c): each name that stays is seen
# once, in every layout.
#
#   LISTING_STAY, LISTING_COME   how many names stay (1000), and how many come and go (1000)
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/backing.sh"
need jq
: "${LISTER:?set LISTER to the program built from lister.c}"
: "${LISTING_STAY:=1000}" "${LISTING_COME:=1000}"

# stay DIR: those who stay. One in ten has something to pack, since a million have no room for that.
stay() {
	python3 - "$1" "$LISTING_STAY" <<-'EOF'
		import os, sys
		for i in range(int(sys.argv[2])):
		    with open("%s/stay%d" % (sys.argv[1], i), "wb") as f:
		        f.write(b"some text\n" * (900 if i % 10 == 0 or i < 1000 else 0))
	EOF
}
lister() { "$LISTER" "$@" || fail "see above"; }
changes_of_form() { # packs and unpacks until the file is gone
	while [ -e "$T/go" ]; do
		"$DISKVFS" pack "$M" && "$DISKVFS" unpack "$M"
	done >>"$T/log" 2>&1
}

backing_up
mk_store
mnt_up -o settle=0
stay "$M"
pack_now
claim "path: $LISTING_COME names come and go, also in the store: also from each place of telldir"
lister "$M" "$LISTING_STAY" "$LISTING_COME" "" "$S"
claim "path: values are written anew, added to, edited, replaced meanwhile"
lister -w "$M" "$LISTING_STAY" "$LISTING_COME" "${LISTING_CHANGES:-wea}" "$S"
claim "path: names come and go, all is packed and unpacked again and again"
touch "$T/go"
changes_of_form &
lister -w "$M" "$LISTING_STAY" "$LISTING_COME" ""
rm "$T/go"
wait
mnt_down

for transform in split:4 hash:sha256:1x1; do
	claim "$transform: names come and go, values are written and packed"
	rm -rf "$S"
	mk_store --transform "$transform"
	mnt_up -o settle=0
	stay "$M"
	pack_now
	lister -w "$M" "$LISTING_STAY" "$LISTING_COME" wea
	mnt_down
done
backing_down
