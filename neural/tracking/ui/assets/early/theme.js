// Before anything is drawn: which theme, so that a dark page never flashes white. The server reads the
// cookie, too, since figures are drawn there.
(function () {
  "use strict";
  var told = /(?:^|; )ntrack_theme=(light|dark)/.exec(document.cookie);
  var dark = window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches;
  var theme = told ? told[1] : dark ? "dark" : "light";
  document.documentElement.setAttribute("data-bs-theme", theme);
  if (!told) document.cookie = "ntrack_theme=" + theme + "; path=/; max-age=31536000; SameSite=Lax";
})();
