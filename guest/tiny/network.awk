# Reads a flattened network_data.json and prints what the interface with MAC address `mac` needs, one item a line:
# mtu N | static4 ADDRESS/PREFIX | static6 ADDRESS/PREFIX | route4 NET/PREFIX GATEWAY | route6 … | dns ADDRESS

{ data[$1] = substr($0, length($1) + 2) }

END {
    for (i = 0; ("links/" i "/id") in data; i++) {
        if (tolower(data["links/" i "/ethernet_mac_address"]) != tolower(mac)) continue
        link = data["links/" i "/id"]
        mtu = data["links/" i "/mtu"]
        if (mtu ~ /^[0-9]+$/) print "mtu", mtu
    }
    if (link == "") exit
    for (i = 0; ("networks/" i "/link") in data; i++)
        if (data["networks/" i "/link"] == link) network("networks/" i)
    for (i = 0; ("services/" i "/type") in data; i++)
        if (data["services/" i "/type"] == "dns") print "dns", data["services/" i "/address"]
}

function network(at,    family, j, route) {
    family = data[at "/type"]
    if (family != "ipv4" && family != "ipv6") return
    family = substr(family, 4)
    print "static" family, with_prefix(data[at "/ip_address"], data[at "/netmask"])
    for (j = 0; ((route = at "/routes/" j) "/network") in data; j++)
        print "route" family, with_prefix(data[route "/network"], data[route "/netmask"]), data[route "/gateway"]
}

function with_prefix(address, mask) {
    return address ~ "/" ? address : address "/" prefix(mask)
}

# The number of leading one bits in a dotted or colon-separated mask.
function prefix(mask,    parts, count, i, bits, number, six, top) {
    if (mask ~ /^[0-9]+$/) return mask
    six = mask ~ ":"
    top = six ? 32768 : 128
    count = split(mask, parts, six ? ":" : "[.]")
    bits = 0
    for (i = 1; i <= count; i++) {
        number = six ? hex(parts[i]) : parts[i] + 0
        while (number >= top) {
            bits++
            number = (number - top) * 2
        }
    }
    return bits
}

function hex(digits,    i, number) {
    number = 0
    for (i = 1; i <= length(digits); i++)
        number = number * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return number
}
