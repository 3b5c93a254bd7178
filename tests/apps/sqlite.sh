#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# sqlite: two processes write one database while it is packed; they are killed, then the daemon is.
. "$(dirname "$0")/apps.sh"
need sqlite3 python3

# whole FILE: consistent, and every transaction that was told is there.
whole() {
	[ "$(sqlite3 "$1" 'pragma integrity_check')" = ok ] || fail "integrity_check"
	[ "$(sqlite3 "$1" 'select n - (select count(*) from t) from total')" = 0 ] || fail "half a transaction"
	sqlite3 "$1" 'select id from t where part = 2 order by id' >"$T/there"
	sort -n "$T"/told.* | uniq >"$T/told"
	[ -z "$(comm -13 <(sort "$T/there") <(sort "$T/told"))" ] || fail "committed rows are lost"
}

pause() { sleep "$(awk "BEGIN { print 0.7 * $APPS_SCALE }")"; }
clients() { # clients FILE MODE SECONDS FIRST
	local i pids=
	for i in 0 1; do
		python3 "$here/../apps/sqlite.py" "$1" "$2" $(($4 + i)) >"$T/told.$2.$4.$i" 2>"$T/err.$i" &
		pids="$pids $!"
	done
	eval "$3"
	kill -KILL $pids
	wait $pids 2>/dev/null || true
	[ -s "$T/told.$2.$4.0" ] || [ -s "$T/told.$2.$4.1" ] || { cat "$T"/err.*; fail "nothing was committed"; }
	sed -i '/^[0-9]*$/!d' "$T"/told.*
	# A line that was cut off tells nothing.
	for i in 0 1; do [ -z "$(tail -c 1 "$T/told.$2.$4.$i")" ] || sed -i '$d' "$T/told.$2.$4.$i"; done
}

app_up
for mode in delete wal truncate; do
	db=$M/$mode.db
	rm -f "$T"/told.*
	sqlite3 "$db" "create table t(id, part, v, primary key(id, part)); create table total(n);
		insert into total values(0);"
	claim "$mode: two writers, killed"
	clients "$db" $mode "pause; pack_now; pause" 0
	whole "$db"
	claim "$mode: packed, and written on"
	pack_now
	whole "$db"
	clients "$db" $mode pause 1000000
	whole "$db"
	claim "$mode: the daemon is killed; what was committed is there"
	python3 "$here/../apps/sqlite.py" "$db" $mode 2000000 >"$T/told.k" 2>/dev/null &
	writer=$!
	pause
	kill -KILL "$dv_pid"
	wait $writer 2>/dev/null || true
	umount -l "$M"
	[ -z "$(tail -c 1 "$T/told.k")" ] || sed -i '$d' "$T/told.k"
	app_up
	whole "$db"
done
app_end
