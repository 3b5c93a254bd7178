#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Listing a directory of many names, in each layout: each name once, and memory that does not follow them.
# LIST_NAMES: how many there are (1000).
. "$(dirname "$0")/harness.sh"
need jq python3
: "${LIST_NAMES:=1000}"

hwm_kb() { awk '/^VmHWM/ { print $2 }' "/proc/$dv_pid/status"; }

# make TRANSFORM: the empty values 0000000 and so on, where that transform has them.
make() {
	python3 - "$S" "$1" "$LIST_NAMES" <<-'EOF'
		import hashlib, os, sys
		store, transform, names = sys.argv[1], sys.argv[2], int(sys.argv[3])
		made = set()
		for i in range(names):
		    key = "%07d" % i
		    if transform == "split:3":
		        folder = "/".join(key[k:k + 3] for k in range(0, 6, 3))
		    elif transform == "hash:sha256:2x2":
		        digest = hashlib.sha256(key.encode()).hexdigest()
		        folder = digest[:2] + "/" + digest[2:4]
		    else:
		        folder = ""
		    if folder not in made:
		        os.makedirs(store + "/" + folder, exist_ok=True)
		        made.add(folder)
		    os.close(os.open("%s/%s/%s" % (store, folder, key), os.O_CREAT | os.O_WRONLY, 0o644))
		print(key)
	EOF
}

max_nodes=65536
for transform in path flat split:3 hash:sha256:2x2; do
	claim "$transform: $LIST_NAMES names, each once, in less than 64 MiB"
	S=$T/$transform
	mkdir "$S"
	last=$(make "$transform")
	mk_store --adopt --transform "$transform"
	[ -e "$(store_path "$last")" ] || fail "$last lies elsewhere"
	mnt_up -o "max_nodes=$max_nodes"
	[ "$(ls -f "$M" | grep -c '^[0-9]')" = "$LIST_NAMES" ] || fail "not all are listed"
	[ "$(ls -f "$M" | grep '^[0-9]' | sort -u | wc -l)" = "$LIST_NAMES" ] || fail "a name twice"
	echo "  VmHWM $(hwm_kb) KiB"
	[ "$(hwm_kb)" -lt 65536 ] || fail "the daemon took $(hwm_kb) KiB"

	claim "$transform: with their attributes: 400 bytes more for each of max_nodes"
	[ "$(ls -l "$M" | grep -c ' [0-9]\{7\}$')" = "$LIST_NAMES" ] || fail "not all are listed"
	echo "  VmHWM $(hwm_kb) KiB, at most $(stat_json .nodes_peak) nodes"
	[ "$(hwm_kb)" -lt $((65536 + max_nodes * 400 / 1024)) ] || fail "the daemon took $(hwm_kb) KiB"
	mnt_down
	rm -rf "$S"
done
