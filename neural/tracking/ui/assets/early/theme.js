// Sets the theme before anything is drawn, so that a dark page never flashes white. The server reads the
// cookie, too, because it makes the figures.
(function () {
  "use strict";
  var chosen = /(?:^|; )ntrack_theme=(light|dark)/.exec(document.cookie);
  var dark = window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches;
  var theme = chosen ? chosen[1] : dark ? "dark" : "light";
  document.documentElement.setAttribute("data-bs-theme", theme);
  if (!chosen) document.cookie = "ntrack_theme=" + theme + "; path=/; max-age=31536000; SameSite=Lax";
})();
