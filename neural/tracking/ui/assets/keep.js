// Restores the keyboard focus, opened details and scroll positions after a part of the page is drawn again.
(function () {
  "use strict";
  var FOCUSABLE = "a[href], button, input, summary, [tabindex]";
  var focused = null; // the element with the keyboard focus
  var opened = {}; // by signature: details that the user opened or closed
  var scrolled = {}; // scroll positions by name

  function signature(part) {
    return [part.tagName, part.getAttribute("data-out"), part.getAttribute("href"), part.getAttribute("aria-label"),
      part.getAttribute("data-title"), part.value, part.textContent].join("|").slice(0, 300);
  }
  function parentId(part) {
    var found = part.closest("[id]:not(a):not(button):not(input)");
    return found ? found.id : "shell";
  }
  function sameElements(part, box) {
    return Array.from(box.querySelectorAll(FOCUSABLE)).filter(function (other) { return signature(other) === signature(part); });
  }

  document.addEventListener("focusin", function (event) {
    var part = event.target, box = document.getElementById(parentId(part));
    focused = { part: part, parentId: parentId(part), index: box ? sameElements(part, box).indexOf(part) : 0 };
  });
  document.addEventListener("focusout", function (event) {
    // An element that was removed from the page is not connected when the timeout runs: its focus is kept.
    setTimeout(function () { if (focused && focused.part === event.target && event.target.isConnected) focused = null; }, 0);
  });
  document.addEventListener("toggle", function (event) {
    if (event.target.isConnected) opened[signature(event.target.firstElementChild)] = event.target.open;
  }, true);
  document.addEventListener("scroll", function (event) {
    var part = event.target;
    if (part.matches && part.matches(".scrolling, .sideways")) scrolled[name(part)] = [part.scrollLeft, part.scrollTop];
  }, true);
  function name(part) { return parentId(part) + "|" + part.className + "|" + (part.getAttribute("aria-label") || ""); }

  new MutationObserver(function () {
    document.querySelectorAll("#content details:not([data-kept])").forEach(function (part) {
      part.setAttribute("data-kept", "1");
      var before = opened[signature(part.firstElementChild)];
      if (before !== undefined) part.open = before;
    });
    document.querySelectorAll(".scrolling:not([data-kept]), .sideways:not([data-kept])").forEach(function (part) {
      part.setAttribute("data-kept", "1");
      var before = scrolled[name(part)];
      if (before) { part.scrollLeft = before[0]; part.scrollTop = before[1]; }
    });
    if (!focused || focused.part.isConnected || document.activeElement !== document.body) return;
    var box = document.getElementById(focused.parentId), found = box ? sameElements(focused.part, box) : [];
    var replacement = found[Math.max(0, focused.index)] || found[0];
    if (replacement) replacement.focus({ preventScroll: true });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
