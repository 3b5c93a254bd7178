# SPDX-License-Identifier: MIT
# manual.awk - the manual pages of section 3, made of diskvfs.h: there is no second text that could differ.
#
#   awk -v dir=DIR -v date=YYYY-MM-DD -v version=VERSION -f manual.awk diskvfs.h
#
# libdiskvfs.3 is the comment at the header's top. Each part of the header, "/* ---- title ---- */", is a
# page with the name of its first function, or struct; the names of the others lead to it. What a
# comment says stands below the declarations that follow it, as far as the next empty line or comment.

function escape(text)
{
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	if (text ~ /^[.']/)
		text = "\\&" text
	return text
}

function say(text)
{
	print text > page
}

function expand(text,    at)
{
	while ((at = index(text, "\t")) > 0)
		text = sprintf("%s%*s%s", substr(text, 1, at - 1), 8 - (at - 1) % 8, "", substr(text, at + 1))
	return text
}

# Text of a comment: lines that begin with a tab are code, "Word   text" begins an entry.
function say_text(text,    lines, count, i, line, code)
{
	count = split(text, lines, "\n")
	code = 0
	for (i = 1; i <= count; i++) {
		line = lines[i]
		if (line ~ /^\t/ && !code)
			say(".PP\n.RS 4\n.nf")
		if (line !~ /^\t/ && line != "" && code) {
			say(".fi\n.RE")
			code = 0
		}
		if (line ~ /^\t/)
			code = 1
		if (code) {
			sub(/^\t/, "", line)
			line = expand(line)
			say(line == "" ? "\\&" : escape(line))
		} else if (line == "") {
			if (i < count && lines[i + 1] !~ /^[A-Z][a-z]+  +|^\t/)
				say(".PP")
		} else if (match(line, /^[A-Z][A-Za-z]+  +/)) {
			say(".TP\n.B " substr(line, 1, index(line, " ") - 1))
			say(bold(escape(substr(line, RLENGTH + 1))))
		} else {
			sub(/^ +/, "", line)
			say(bold(escape(line)))
		}
	}
	if (code)
		say(".fi\n.RE")
}

function bold(text)
{
	gsub(/dvfs_[a-z_]+\(\)/, "\\fB&\\fR", text)
	return text
}

function begin_page(name, names, title)
{
	page = dir "/" name ".3"
	pages = pages " " name
	say(".\\\" Made of diskvfs.h by manual.awk.")
	say(".TH \"" toupper(name) "\" 3 \"" date "\" \"diskvfs " version "\" \"Library Functions\"")
	say(".SH NAME\n" names " \\- " title)
}

function end_page()
{
	close(page)
}

# ---- parts ----

function flush_item()
{
	sub(/\n+$/, "", comment)
	if (code_text != "" || comment != "") {
		items++
		item_code[items] = code_text
		item_text[items] = comment
	}
	code_text = comment = ""
}

function code_lines(text,    lines, count, i)
{
	count = split(text, lines, "\n")
	for (i = 1; i < count; i++) {
		lines[i] = expand(lines[i])
		say(lines[i] == "" ? "\\&" : escape(lines[i]))
	}
}

function end_part(    i, all, link)
{
	flush_item()
	if (names_count) {
		all = names[1]
		for (i = 2; i <= names_count; i++)
			all = all ", " names[i]
		begin_page(names[1], all, part)
		say(".SH SYNOPSIS\n.nf\n.B #include <diskvfs.h>\n.PP")
		for (i = 1; i <= items; i++)
			if (item_code[i] ~ /dvfs_[a-z_]+\(/ && item_code[i] !~ /^struct dvfs_[a-z_]+ \{/) {
				say("\\&")
				code_lines(item_code[i])
			}
		say(".PP\ncc ... $(pkg\\-config \\-\\-cflags \\-\\-libs diskvfs)\n.fi")
		say(".SH DESCRIPTION")
		for (i = 1; i <= items; i++) {
			if (item_code[i] != "") {
				say(i > 1 ? ".PP\n.nf" : ".nf")
				code_lines(item_code[i])
				say(".fi")
			}
			if (item_text[i] != "") {
				if (item_code[i] != "")
					say(".RS 4")
				else if (i > 1)
					say(".PP")
				say_text(item_text[i])
				if (item_code[i] != "")
					say(".RE")
			}
		}
		say(".SH ERRORS\nAs in\n.BR libdiskvfs (3).")
		say(".SH SEE ALSO\n.BR libdiskvfs (3),\n.BR diskvfs (1)")
		end_page()
		part_of[++parts] = names[1]
		part_names[parts] = all
		part_title[parts] = part
		for (i = 2; i <= names_count; i++) {
			link = dir "/" names[i] ".3"
			print ".so man3/" names[1] ".3" > link
			close(link)
		}
	}
	names_count = items = 0
}

function add_name(name)
{
	if (!(name in known)) {
		known[name] = 1
		names[++names_count] = name
	}
}

# The last page, since it lists the others.
function overview(    i)
{
	begin_page("libdiskvfs", "libdiskvfs", top_title)
	say(".SH SYNOPSIS\n.nf\n.B #include <diskvfs.h>\n.PP")
	say("cc ... $(pkg\\-config \\-\\-cflags \\-\\-libs diskvfs)\n.fi\n.SH DESCRIPTION")
	say_text(top)
	say(".SH PAGES")
	for (i = 1; i <= parts; i++)
		say(".TP\n.BR " part_of[i] " (3)\n" part_title[i] ": " part_names[i])
	say(".SH SEE ALSO\n.BR diskvfs (1),\n.BR zstd (1)")
	end_page()
}

# A comment's line without its marks.
function strip(line)
{
	if (line ~ /^ *\*\/$/)
		return ""
	sub(/^[ \t]*\/?\*+ ?/, "", line)
	sub(/[ \t]*\*\/[ \t]*$/, "", line)
	return line
}

FNR == 1 { next } # the licence

!top_done && /^\/\*$/ { in_top = 1; next }
in_top && /^ \*\// { in_top = 0; top_done = 1; next }
in_top {
	line = strip($0)
	if (top_title == "") {
		top_title = line
		sub(/^[^ ]* - [^ :]*: /, "", top_title)
		sub(/\.$/, "", top_title)
	} else if (top != "" || line != "") {
		top = top line "\n"
	}
	next
}

/^\/\* ---- .* ---- \*\/$/ {
	end_part()
	part = $0
	sub(/^\/\* ---- /, "", part)
	sub(/ ---- \*\/$/, "", part)
	next
}
part == "" || /^#/ || /^}$/ { next }

# Comments before declarations; those in a struct or behind one are code.
depth == 0 && /^\/\*/ {
	flush_item()
	in_comment = 1
}
in_comment {
	ended = /\*\/[ \t]*$/
	line = strip($0)
	if (line != "" || comment != "")
		comment = comment line "\n"
	if (ended)
		in_comment = 0
	next
}
depth == 0 && /^$/ {
	if (code_text != "")
		flush_item()
	next
}
{
	code_text = code_text $0 "\n"
	if (depth == 0 && match($0, /^struct dvfs_[a-z_]+ \{/))
		add_name(substr($0, 8, RLENGTH - 9))
	if (depth == 0 && $0 !~ /^typedef/ && match($0, /dvfs_[a-z_]+\(/))
		add_name(substr($0, RSTART, RLENGTH - 1))
	line = $0
	depth += gsub(/{/, "", line) - gsub(/}/, "", line)
}

END {
	end_part()
	overview()
}
