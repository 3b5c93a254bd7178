#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Databases that keep their data in other ways than sqlite and PostgreSQL: LMDB (a shared mapping,
# written to or not), LevelDB (a log and sorted tables), Redis (snapshots by rename, an append-only
# file). The writer is killed, then the daemon; what was told is there.
. "$(dirname "$0")/apps.sh"
need python3 redis-server redis-cli
python3 -c 'import lmdb, plyvel' 2>/dev/null || skip "python3-lmdb, python3-plyvel are not installed"

db() { python3 "$here/../apps/databases.py" "$@"; }
db_writer() { exec python3 "$here/../apps/databases.py" "$1" write "$2"; } # in the background
lines() { wc -l <"$1" 2>/dev/null || echo 0; }
more_lines() { [ "$(lines "$1")" -ge "$2" ]; } # more_lines FILE COUNT

# killed KIND DIR FILE WHAT: a writer works, WHAT happens, it is killed; the database is good.
killed() {
	db_writer "$1" "$2" >>"$3" 2>"$T/err" &
	local pid=$! from
	from=$(lines "$3")
	until_true 60 more_lines "$3" $((from + 60 * APPS_SCALE)) || { cat "$T/err"; fail "$1"; }
	$4
	kill -KILL $pid 2>/dev/null || true
	wait $pid 2>/dev/null || true
	db "$1" check "$2" "$3" || fail "$1: $2"
}
daemon_killed() {
	kill -KILL "$dv_pid"
	dv_wait_end "$dv_pid" 20 || fail "the daemon lives"
}
packed_meanwhile() {
	local from
	from=$(lines "$T/told")
	pack_now
	until_true 60 more_lines "$T/told" $((from + 30))
}

app_up
for kind in lmdb leveldb lmdb.map; do
	claim "$kind: the writer is killed; packed, written on; the daemon is killed"
	: >"$T/told"
	mkdir "$M/$kind"
	killed ${kind%.map} "$M/$kind" "$T/told" packed_meanwhile
	pack_now
	db ${kind%.map} check "$M/$kind" "$T/told"
	killed ${kind%.map} "$M/$kind" "$T/told" packed_meanwhile
	db_writer ${kind%.map} "$M/$kind" >>"$T/told" 2>"$T/err" &
	pid=$!
	until_true 60 more_lines "$T/told" $(($(lines "$T/told") + 60))
	daemon_killed
	kill -KILL $pid 2>/dev/null || true
	wait $pid 2>/dev/null || true
	umount -l "$M"
	app_up
	db ${kind%.map} check "$M/$kind" "$T/told" || fail "$kind after a kill of the daemon"
	mnt_down
	app_up
	db ${kind%.map} check "$M/$kind" "$T/told" || fail "$kind after a remount"
done

redis_up() {
	(cd "$M/redis" && exec redis-server --port 0 --unixsocket "$T/redis.sock" --dir "$M/redis" --save '' \
		--appendonly yes --appendfsync always --auto-aof-rewrite-min-size 200kb --auto-aof-rewrite-percentage 30 \
		--logfile "$T/redis.log" >/dev/null) &
	redis=$!
	until_true 60 redis_answers
}
redis_answers() { [ "$(r ping)" = PONG ]; } # it loads its file first
r() { redis-cli -s "$T/redis.sock" "$@" 2>/dev/null; }
redis_ends() {
	kill -KILL "$redis" 2>/dev/null || true
	wait "$redis" 2>/dev/null || true
	rm -f "$T/redis.sock"
}
# fill FROM TO: keys that a transaction sets, acknowledged one by one.
fill() { seq "$1" "$2" | awk '{ printf "set key%d %0400d\nincr n\n", $1, $1 }' | r >/dev/null; }
redis_whole() { # redis_whole COUNT
	[ "$(r get n)" = "$1" ] || fail "redis: n is $(r get n), not $1"
	[ "$(r dbsize)" = $(($1 + 1)) ] || fail "redis: $(r dbsize) keys"
	[ "$(r get "key$1")" = "$(printf '%0400d' "$1")" ] || fail "redis: key$1"
}
claim "redis: an append-only file that is rewritten, snapshots; the server is killed, then the daemon"
mkdir "$M/redis"
n=$((600 * APPS_SCALE))
redis_up
fill 1 $n
r bgrewriteaof >/dev/null
pack_now
fill $((n + 1)) $((2 * n))
redis_ends
pack_now
redis_up
redis_whole $((2 * n))
r save >/dev/null
[ -s "$M/redis/dump.rdb" ] || fail "no snapshot"
fill $((2 * n + 1)) $((3 * n))
daemon_killed
redis_ends
umount -l "$M"
app_up
redis_up
redis_whole $((3 * n))
redis-check-rdb "$M/redis/dump.rdb" >"$T/out" || { cat "$T/out"; fail "the snapshot"; }
r shutdown nosave || true
wait $redis || true
app_end
