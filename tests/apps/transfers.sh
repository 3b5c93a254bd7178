#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Programs that write a file in pieces, out of order, or go on with what is there: curl -C and
# wget -c, aria2c, qemu-img; mail that several deliver at once.
. "$(dirname "$0")/apps.sh"
need curl wget aria2c qemu-img qemu-io python3 maildrop procmail lockfile

# A server that knows ranges, and breaks the connection where it is told to (?cut=BYTES).
cat >"$T/server.py" <<'EOF'
import http.server, os, re, sys, urllib.parse
os.chdir(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a):
        pass
    def do_HEAD(self):
        self.answer(False)
    def do_GET(self):
        self.answer(True)
    def answer(self, body):
        url = urllib.parse.urlparse(self.path)
        data = open(url.path.lstrip("/"), "rb").read()
        m = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        begin = int(m[1]) if m else 0
        end = int(m[2]) + 1 if m and m[2] else len(data)
        if begin >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", "bytes */%d" % len(data))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if m else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - begin))
        if m:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (begin, end - 1, len(data)))
        self.end_headers()
        cut = urllib.parse.parse_qs(url.query).get("cut")
        if body:
            self.wfile.write(data[begin:min(end, begin + int(cut[0])) if cut else end])
        self.close_connection = bool(cut)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
EOF
mkdir "$T/served"
text $((6000000 * APPS_SCALE)) >"$T/served/text"
noise $((3000000 * APPS_SCALE)) >"$T/served/noise"
python3 "$T/server.py" "$T/served" >"$T/port" 2>/dev/null &
server=$!
serves() { [ -s "$T/port" ]; }
until_true 60 serves
url=http://127.0.0.1:$(cat "$T/port")
export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1

app_up
claim "curl -C and wget -c go on where the connection broke, with what was packed meanwhile"
for f in text noise; do
	for cut in 1000 700000 2000000; do
		! curl -s -C - -o "$M/curl.$f" "$url/$f?cut=$cut" || fail "the connection did not break"
		pack_now
		! wget -q -t 1 -c -O "$M/wget.$f" "$url/$f?cut=$cut" || fail "the connection did not break"
		pack_now
	done
	curl -s -C - -o "$M/curl.$f" "$url/$f" || fail "curl $f"
	wget -q -c -O "$M/wget.$f" "$url/$f" || fail "wget $f"
	same "$T/served/$f" "$M/curl.$f"
	same "$T/served/$f" "$M/wget.$f"
done
pack_now
same "$T/served/text" "$M/wget.text"

claim "aria2c: several connections into one file, reserved before or not, interrupted and gone on with"
for how in none prealloc falloc trunc; do
	a() { aria2c -q --no-conf --file-allocation=$how -x 4 -s 4 -k 1M -d "$M/aria" -o "$how.text" "$@"; }
	a --max-tries=1 "$url/text?cut=400000" && fail "the connection did not break"
	pack_now
	a -c "$url/text" || fail "aria2c $how"
	same "$T/served/text" "$M/aria/$how.text"
	pack_now
	same "$T/served/text" "$M/aria/$how.text"
	[ ! -e "$M/aria/$how.text.aria2" ] || fail "its control file stays"
done

claim "qemu-img: images made, grown, snapshot, converted, checked; written in the middle after a rest"
i=$M/img
mkdir "$i"
q() { "$@" >"$T/out" 2>&1 || { cat "$T/out"; fail "$*"; }; }
truncate -s 0 "$T/raw" && text 3000000 >"$T/raw" && truncate -s 32M "$T/raw"
for fmt in raw qcow2 vmdk vdi; do
	for cache in writeback none; do
		rm -f "$i/$fmt"
		q qemu-img convert -t $cache -f raw -O $fmt "$T/raw" "$i/$fmt"
		pack_now
		q qemu-io -t $cache -f $fmt -c "write -P 7 10M 300k" -c "write -z 100k 200k" -c flush "$i/$fmt"
		pack_now
		q qemu-io -t $cache -f $fmt -c "read -P 7 10M 300k" -c "read -P 0 100k 200k" "$i/$fmt"
		q qemu-img convert -T $cache -f $fmt -O raw "$i/$fmt" "$T/back"
		cmp -n 102400 "$T/raw" "$T/back" || fail "$fmt"
		cmp -i 11M "$T/raw" "$T/back" || fail "$fmt"
	done
done
q qemu-img create -f qcow2 -o preallocation=falloc "$i/grown" 8M
q qemu-img snapshot -c one "$i/grown"
q qemu-io -f qcow2 -c "write -P 3 1M 64k" "$i/grown"
q qemu-img create -f qcow2 -b "$i/grown" -F qcow2 "$i/over"
q qemu-io -f qcow2 -c "write -P 4 2M 64k" "$i/over"
pack_now
q qemu-img commit "$i/over"
q qemu-img resize "$i/grown" 16M
pack_now
q qemu-img check "$i/grown"
q qemu-io -f qcow2 -c "read -P 3 1M 64k" -c "read -P 4 2M 64k" "$i/grown"
q qemu-img snapshot -a one "$i/grown"
q qemu-io -f qcow2 -c "read -P 0 1M 64k" "$i/grown"

claim "mail: several deliver into one mbox, and a Maildir, packed meanwhile; none is lost"
mkdir -p "$M/mail/dir/cur" "$M/mail/dir/new" "$M/mail/dir/tmp"
n=$((12 * APPS_SCALE))
printf 'to "%s/mail/box"\n' "$M" >"$T/box.filter"
printf 'to "%s/mail/dir/"\n' "$M" >"$T/dir.filter"
chmod 600 "$T"/*.filter
printf 'LOGFILE=%s/procmail.log\nLOCKSLEEP=1\n:0:\n%s/mail/box\n' "$T" "$M" >"$T/procmailrc"
# deliver FROM TO COMMAND...
deliver() {
	local k from=$1 to=$2
	shift 2
	for k in $(seq "$from" "$to"); do
		printf 'From: a@example.org\nSubject: mail %s\n\n%s\n\n' "$k" "$(printf '%03000d' "$k")" | "$@"
	done
}
deliver 1 $n maildrop "$T/box.filter" &
one=$!
deliver $((n + 1)) $((2 * n)) procmail -m "$T/procmailrc" &
two=$!
deliver 1 $n maildrop "$T/dir.filter" &
three=$!
for _ in 1 2 3 4 5; do pack_now; done
wait $one $two $three
subjects() { grep -h '^Subject: mail ' "$@" | cut -d ' ' -f 3 | sort -n; }
subjects "$M/mail/box" | cmp - <(seq 1 $((2 * n))) || fail "the mbox"
[ "$(grep -cE '^0{2900}[0-9]{100}$' "$M/mail/box")" = $((2 * n)) ] || fail "bodies in the mbox"
subjects "$M"/mail/dir/new/* | cmp - <(seq 1 $n) || fail "the Maildir"
pack_now
# Removed from the middle: written anew, under locks of all kinds.
python3 - "$M/mail/box" >"$T/left" <<'EOF'
import mailbox, sys
box = mailbox.mbox(sys.argv[1])
box.lock()
before = len(box)
box.remove(before // 2)
box.flush()
box.unlock()
print(before, len(mailbox.mbox(sys.argv[1])))
EOF
read -r before after <"$T/left"
[ "$before" -gt 1 ] && [ "$after" = $((before - 1)) ] || fail "of $before mails $after are left, where one was removed"
[ -z "$(find "$M/mail" -name '*.lock')" ] || fail "a lock file stays"
kill $server
wait $server || true
app_end
