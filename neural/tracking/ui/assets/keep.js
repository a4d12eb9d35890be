// What is drawn anew under its reader stays as it was left: the keyboard's place, what is opened or scrolled.
(function () {
  "use strict";
  var FOCUSABLE = "a[href], button, input, summary, [tabindex]";
  var held = null; // where the keyboard is
  var opened = {}; // details by their words, where the reader opened or closed them
  var scrolled = {}; // of what moves sideways or has a height of its own, by its name

  function words(part) {
    return [part.tagName, part.getAttribute("data-out"), part.getAttribute("href"), part.getAttribute("aria-label"),
      part.getAttribute("data-title"), part.value, part.textContent].join("|").slice(0, 300);
  }
  function home(part) {
    var found = part.closest("[id]:not(a):not(button):not(input)");
    return found ? found.id : "shell";
  }
  function alike(part, box) {
    return Array.from(box.querySelectorAll(FOCUSABLE)).filter(function (other) { return words(other) === words(part); });
  }

  document.addEventListener("focusin", function (event) {
    var part = event.target, box = document.getElementById(home(part));
    held = { part: part, home: home(part), place: box ? alike(part, box).indexOf(part) : 0 };
  });
  document.addEventListener("focusout", function (event) {
    // Taken away with what it was in, it is no longer in the page by the time this is looked at.
    setTimeout(function () { if (held && held.part === event.target && event.target.isConnected) held = null; }, 0);
  });
  document.addEventListener("toggle", function (event) {
    if (event.target.isConnected) opened[words(event.target.firstElementChild)] = event.target.open;
  }, true);
  document.addEventListener("scroll", function (event) {
    var part = event.target;
    if (part.matches && part.matches(".scrolling, .sideways")) scrolled[name(part)] = [part.scrollLeft, part.scrollTop];
  }, true);
  function name(part) { return home(part) + "|" + part.className + "|" + (part.getAttribute("aria-label") || ""); }

  new MutationObserver(function () {
    document.querySelectorAll("#content details:not([data-kept])").forEach(function (part) {
      part.setAttribute("data-kept", "1");
      var before = opened[words(part.firstElementChild)];
      if (before !== undefined) part.open = before;
    });
    document.querySelectorAll(".scrolling:not([data-kept]), .sideways:not([data-kept])").forEach(function (part) {
      part.setAttribute("data-kept", "1");
      var before = scrolled[name(part)];
      if (before) { part.scrollLeft = before[0]; part.scrollTop = before[1]; }
    });
    if (!held || held.part.isConnected || document.activeElement !== document.body) return;
    var box = document.getElementById(held.home), found = box ? alike(held.part, box) : [];
    var again = found[Math.max(0, held.place)] || found[0];
    if (again) again.focus({ preventScroll: true });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
