# Flattens a JSON document: one line per leaf, "path<TAB>value", path parts joined by "/".
# A value of several lines gives several lines with the same path; true, false, null and numbers are printed as written.
# Ends with status 1, and prints the place, where the text is not JSON.

{ rest = rest $0 "\n" }

END {
    value("")
    skip_blanks()
    if (rest != "") fail("end of text")
}

function value(path,    first) {
    skip_blanks()
    first = substr(rest, 1, 1)
    if (first == "{") object(path)
    else if (first == "[") array(path)
    else if (first == "\"") leaf(path, string())
    else if (match(rest, /^[-+.A-Za-z0-9]+/)) leaf(path, take(RLENGTH))
    else fail("a value")
}

function object(path,    key) {
    take(1)
    skip_blanks()
    if (substr(rest, 1, 1) == "}") { take(1); return }
    do {
        skip_blanks()
        key = string()
        gsub(/[\t\n]/, " ", key)
        expect(":")
        value(child(path, key))
    } while (more("}"))
}

function array(path,    position) {
    take(1)
    skip_blanks()
    if (substr(rest, 1, 1) == "]") { take(1); return }
    position = 0
    do value(child(path, position++)); while (more("]"))
}

function child(path, name) { return path == "" ? name : path "/" name }

function more(closing,    next_char) {
    skip_blanks()
    next_char = take(1)
    if (next_char == ",") return 1
    if (next_char != closing) fail("\",\" or \"" closing "\"")
    return 0
}

function expect(wanted) {
    skip_blanks()
    if (take(1) != wanted) fail("\"" wanted "\"")
}

function leaf(path, text,    lines, count, i) {
    count = split(text, lines, "\n")
    while (count > 1 && lines[count] == "") count--
    if (count < 1) print path "\t"
    for (i = 1; i <= count; i++) print path "\t" lines[i]
}

function string(    raw) {
    if (!match(rest, /^"([^"\\]|\\.)*"/)) fail("a string")
    raw = take(RLENGTH)
    return unescape(substr(raw, 2, length(raw) - 2))
}

function unescape(raw,    text, letter, code) {
    text = ""
    while (match(raw, /\\./)) {
        text = text substr(raw, 1, RSTART - 1)
        letter = substr(raw, RSTART + 1, 1)
        raw = substr(raw, RSTART + 2)
        if (letter == "u") {
            code = hex(substr(raw, 1, 4))
            raw = substr(raw, 5)
            if (code >= 55296 && code < 56320 && substr(raw, 1, 2) == "\\u") {
                code = 65536 + (code - 55296) * 1024 + hex(substr(raw, 3, 4)) - 56320
                raw = substr(raw, 7)
            }
            text = text utf8(code)
        }
        else if (letter == "n") text = text "\n"
        else if (letter == "t") text = text "\t"
        else if (letter == "r") text = text "\r"
        else if (letter == "b" || letter == "f") text = text " "
        else text = text letter
    }
    return text raw
}

function hex(digits,    i, number) {
    number = 0
    for (i = 1; i <= length(digits); i++)
        number = number * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return number
}

function utf8(code) {
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    if (code < 65536) return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
    return sprintf("%c%c%c%c", 240 + int(code / 262144), 128 + int(code / 4096) % 64, 128 + int(code / 64) % 64, 128 + code % 64)
}

function skip_blanks() { sub(/^[ \t\r\n]+/, "", rest) }

function take(count,    taken) {
    taken = substr(rest, 1, count)
    rest = substr(rest, count + 1)
    return taken
}

function fail(wanted) {
    print "not JSON: expected " wanted " at: " substr(rest, 1, 40) >"/dev/stderr"
    exit 1
}
