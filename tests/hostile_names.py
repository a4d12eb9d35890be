"""Names that every interface must store under a checked path, or refuse with a ValueError."""

import unicodedata

_DEVICES = ["con", "PRN", "aux", "NUL", "COM1", "lpt9", "COM¹", "conin$", "nul.txt", "Con.tar.gz"]
_SEPARATORS = ["/", "\\", "\u2215", "\u2044", "\uff0f", "\uff3c", "\u29f8", "\u2571", "\u2216", "\ufe68"]
_TRAVERSALS = [
    "..", ".", "...", "../x", "../../etc/passwd", "..\\x", "x/..", "x/../y", "./x", "/", "//", "/etc/passwd",
    "/tmp/x", "\\\\server\\share", "C:\\x", "c:x", "~", "~root/x", "~/x", "$HOME", "${PATH}", "`id`", "$(id)",
    "x/", "x//y", "..%2fx", "%2e%2e%2f", "..;/x", "....//x", "file:///etc/passwd", "\u2025", "\u2024\u2024/",
    "versions", "artifacts", "plots", "metrics", "run.json", "events-0.jsonl", ".ntrack", "blobs",
    "v1_x", "v99999999999999999999_x", "current.manifest.json", "x.manifest.json", ".tmp-x", ".tmp-", ".nfs1",
]  # fmt: skip
_CONTROL = [
    *(f"a{chr(code)}b" for code in (*range(32), 127, 128, 133, 155)), "\x00", "a\x00.txt", "\u2028", "\u2029",
    "\ud800", "a\udfffb", "\x1b[31mred", "\r\n", "a\n../b",
]  # fmt: skip
_ENDS = [
    "x.", "x..", "x ", " x", "x. .", " ", "   ", "\t", "", ".x", "..x", ".hidden", "x.tar.gz.", "\xa0",
    "\u3000x",
]  # fmt: skip
_ODD = [
    "a" * 200, "a" * 201, "a" * 255, "a" * 256, "a" * 5000, "\xe9" * 100, "\xe9" * 101, "\U0001f600" * 50,
    "\U0001f600" * 51, "-rf", "--help", "-", "*", "?", "[a]", "{a,b}", "a;b", "a|b", "a&b", "a>b", "a<b",
    "a'b", "a\"b", "a:b", "%s", "%n", "{0}", "\u202egpj.exe", "a\u200bb", "\u200b", "\ufeff",
    "a\u0301" * 20, "\u0301", "\uff41", "\uff21", "\ufb01", "\u017f", "\u0130", "\xdf", "\xb5", "\u03bc",
    "\xc5", "\xc5", "\u0131", "\U0001d482", "\u2167", "\xbd", "\u2116", "\u2100", "\u214d", "\uff0e\uff0e",
    "\u3002\u3002", "\u200b..", "<script>alert(1)</script>", "[red]x[/]", "a\\nb",
    "\U0001f3f4\u200d\u2620\ufe0f", "\u0646\u0635", "\u200f\u202ex", "\u65e5\u672c\u8a9e.pt",
    "\xfcn\xef.pt", "null", "None", "True", "0", "-1", "v3", "latest", "NaN",
]  # fmt: skip
_COLLIDING = [
    form
    for word in ("caf\xe9", "\xc5ngstr\xf6m", "\ufb00", "\uac01")
    for form in (
        unicodedata.normalize("NFC", word),
        unicodedata.normalize("NFD", word),
        word.upper(),
        word.lower(),
    )
]

HOSTILE_NAMES = list(
    dict.fromkeys(
        [
            *_TRAVERSALS,
            *_DEVICES,
            *(f"a{char}b" for char in _SEPARATORS),
            *(f"..{char}x" for char in _SEPARATORS),
            *_CONTROL,
            *_ENDS,
            *_ODD,
            *_COLLIDING,
        ]
    )
)
