// The part of the page that runs in the browser: the table's selection and live rows, the visibility of charts,
// a common cross-hair of all charts, the address, and the theme. Text that users logged becomes only text nodes.
(function () {
  "use strict";
  var clientside = (window.dash_clientside = window.dash_clientside || {});
  var slots = []; // selected runs by slot; "" for a free slot
  var fromTable = null; // the last selection that the user made in the table
  var MAX_SELECTED = 64;

  function same(a, b) { return JSON.stringify(a) === JSON.stringify(b); }
  function setProps(id, props) { clientside.set_props(id, props); }
  function gridApi() {
    try {
      var api = window.dash_ag_grid.getApi("grid");
      return api.isDestroyed() ? null : api;
    } catch (gone) { return null; }
  }
  function trimmed(list) {
    var found = list.slice();
    while (found.length && !found[found.length - 1]) found.pop();
    return found;
  }

  // ---- the table ----------------------------------------------------------------------------------

  function formatNumber(value) {
    if (value === null || value === undefined || value === "") return "";
    var number = Number(value);
    if (value === "NaN" || typeof value === "boolean" || isNaN(number)) return String(value);
    if (!isFinite(number)) return number > 0 ? "∞" : "-∞";
    if (Number.isInteger(number) && Math.abs(number) < 1e6) return number.toLocaleString("en");
    var size = Math.abs(number);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return number.toExponential(2).replace("e+", "e");
    return String(Number(number.toPrecision(4)));
  }
  function formatTime(value) {
    if (!value) return "";
    var time = new Date(value);
    function two(n) { return (n < 10 ? "0" : "") + n; }
    return time.getFullYear() + "-" + two(time.getMonth() + 1) + "-" + two(time.getDate()) + " " +
      two(time.getHours()) + ":" + two(time.getMinutes());
  }
  function formatDuration(value) {
    if (value === null || value === undefined) return "";
    var s = Math.floor(value);
    if (s < 60) return s < 10 ? value.toFixed(1) + " s" : s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60 ? (s % 60) + " s" : "");
    if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
    return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
  }
  function compare(a, b) {
    var none = function (v) { return v === null || v === undefined || v === "" || v === "NaN"; };
    if (none(a) || none(b)) return none(a) === none(b) ? 0 : none(a) ? -1 : 1;
    var x = Number(a), y = Number(b);
    if (!isNaN(x) && !isNaN(y)) return x - y;
    return String(a).localeCompare(String(b));
  }
  window.dashAgGridFunctions = Object.assign(window.dashAgGridFunctions || {}, {
    ntrackNumber: formatNumber,
    ntrackValue: function (value) { return typeof value === "number" ? formatNumber(value) : value === null || value === undefined ? "" : String(value); },
    ntrackWhen: formatTime,
    ntrackTook: formatDuration,
    ntrackCompare: compare,
    ntrackTheme: {
      backgroundColor: "var(--paper)", foregroundColor: "var(--ink)", borderColor: "var(--line)",
      headerBackgroundColor: "var(--paper)", headerTextColor: "var(--faint)", headerFontWeight: 500,
      rowHoverColor: "var(--lifted)", selectedRowBackgroundColor: "var(--accent-soft)", accentColor: "var(--accent)",
      fontFamily: "inherit", fontSize: 13, spacing: 6, wrapperBorderRadius: 8, columnBorder: false,
      browserColorScheme: "inherit", chromeBackgroundColor: "var(--paper)",
    },
  });

  var MARKS = { created: "○", running: "◐", completed: "●", failed: "✕", unreadable: "!" };
  var components = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  components.RunStatus = function (props) {
    var status = String(props.value || "");
    return React.createElement("span", { className: "status status-" + status },
      React.createElement("span", { "aria-hidden": true }, MARKS[status] || "?"), " " + status);
  };
  components.RunName = function (props) {
    var slot = props.data ? slots.indexOf(props.data.key) : -1;
    return React.createElement("span", { className: "run-name", title: (props.data && props.data.problem) || props.value },
      slot >= 0 ? React.createElement("span", { className: "dot slot-" + (slot % 8), "aria-hidden": true }) : null,
      String(props.value),
      props.data && props.data.problem ? React.createElement("span", { className: "warn", role: "img", "aria-label": "has a problem" }, " !") : null);
  };

  // The rows that the table had when its selection was last set from the page. If one of these is not selected,
  // the user has deselected it; other rows are new, or were hidden by the filter.
  var known = new Set();

  // ``onlyAdd`` deselects no rows, because the user may have selected them a moment ago.
  function showSelection(onlyAdd) {
    var api = gridApi();
    if (!api) return;
    var on = [], off = [];
    known = new Set();
    api.forEachNode(function (node) {
      known.add(node.id);
      var wanted = slots.indexOf(node.id) >= 0 && node.data && node.data.status !== "unreadable";
      if (!!node.isSelected() !== wanted) (wanted ? on : off).push(node);
    });
    if (onlyAdd) off = [];
    if (on.length) api.setNodesSelected({ nodes: on, newValue: true, source: "api" });
    if (off.length) api.setNodesSelected({ nodes: off, newValue: false, source: "api" });
    showColours();
  }
  function showColours() {
    var api = gridApi();
    if (api) api.refreshCells({ columns: ["name"], force: true });
  }

  // ---- charts -------------------------------------------------------------------------------------

  var watcher = "IntersectionObserver" in window ? new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) {
      if (document.body.contains(entry.target)) setSeen(entry.target, entry.isIntersecting);
    });
  }, { rootMargin: "250px 0px" }) : null;

  function setSeen(card, inSight) {
    setProps({ part: "seen", metric: JSON.parse(card.id).metric }, { data: inSight });
  }
  function watchCards() {
    document.querySelectorAll("#charts .chart-card:not([data-watched])").forEach(function (card) {
      card.setAttribute("data-watched", "1");
      if (watcher) watcher.observe(card);
      else setSeen(card, true);
    });
  }

  var mirroring = false, next = null;
  function inSight(plot) {
    var box = plot.getBoundingClientRect();
    return box.bottom > 0 && box.top < window.innerHeight;
  }
  function others(plot, act) {
    mirroring = true; // the hover of the other charts must not trigger this again
    document.querySelectorAll("#charts .js-plotly-plot").forEach(function (other) {
      if (other !== plot && other.data && other.data.length && inSight(other)) {
        try { act(other); } catch (notReady) { /* the chart is being drawn again */ }
      }
    });
    mirroring = false;
  }
  function joinCrossHair(plot) {
    plot.setAttribute("data-joined", "1");
    plot.on("plotly_hover", function (event) {
      if (mirroring || !event.xvals) return;
      var x = event.xvals[0];
      if (next) cancelAnimationFrame(next);
      next = requestAnimationFrame(function () {
        others(plot, function (other) { window.Plotly.Fx.hover(other, { xval: x }); });
      });
    });
    plot.on("plotly_unhover", function () {
      if (mirroring) return;
      if (next) cancelAnimationFrame(next);
      others(plot, function (other) { window.Plotly.Fx.unhover(other); });
    });
  }

  // Labels elements for screen readers that the libraries leave without a label.
  function labelParts() {
    function all(what, act) { document.querySelectorAll(what).forEach(act); }
    function name(what, words) { all(what + ":not([aria-label])", function (part) { part.setAttribute("aria-label", words); }); }
    name("#grid [role=grid]", "runs");
    name("#grid .ag-header-cell[col-id=ag-Grid-SelectionColumn]", "selected");
    all("[role=slider]:not([aria-label]), .dash-slider-container input:not([aria-label])", function (slider) {
      var label = slider.closest(".control");
      if (label) slider.setAttribute("aria-label", label.querySelector(".control-label").textContent);
    });
    // The library makes no tab reachable by keyboard, and refers to panels that do not exist.
    all(".main-tabs [role=tab]", function (tab) {
      tab.tabIndex = tab.classList.contains("active") ? 0 : -1;
      tab.setAttribute("aria-controls", "content");
    });
    // A hidden field that gets the focus and passes it to the next button.
    all(".dash-dropdown-focus-target", function (field) {
      field.tabIndex = -1;
      field.nextElementSibling.tabIndex = 0;
    });
    all("#js-plotly-tester, .modebar-btn svg, .js-plotly-plot svg.main-svg, .dash-dropdown svg", function (drawn) {
      drawn.setAttribute("aria-hidden", "true");
    });
  }
  setInterval(function () {
    labelParts();
    document.querySelectorAll("#charts .js-plotly-plot:not([data-joined])").forEach(function (plot) {
      if (plot.on) joinCrossHair(plot);
    });
    document.querySelectorAll("time.when:not([data-local])").forEach(function (time) {
      time.setAttribute("data-local", "1");
      time.textContent = formatTime(time.getAttribute("datetime")) || "–";
    });
  }, 700);

  function axisValue(value, isLog) {
    if (typeof value === "string") return new Date(value.replace(" ", "T") + "Z").getTime();
    return isLog ? Math.pow(10, value) : value;
  }

  // The address has the choice of min or max only if it differs from the default of the metric's name.
  function isUsual(setting, value) {
    var choice = document.querySelector('[data-goal="' + setting.replace(/^goal\./, "") + '"]');
    return !!choice && choice.getAttribute("data-usual") === (value || "");
  }

  // ---- functions that Dash calls --------------------------------------------------------------------

  clientside.ntrack = {
    applyRows: function (changes) {
      var api = gridApi();
      if (api && changes) {
        var add = [], update = [];
        changes.rows.forEach(function (row) { (api.getRowNode(row.key) ? update : add).push(row); });
        var remove = changes.gone.filter(function (key) { return api.getRowNode(key); })
          .map(function (key) { return { key: key }; });
        api.applyTransaction({ add: add, update: update, remove: remove });
        selectRunsInGrid();
      }
      return clientside.no_update;
    },
    rowsArrived: function () {
      known = new Set();
      selectRunsInGrid();
      return clientside.no_update;
    },
    selectRows: function (rows, selected) {
      var api = gridApi();
      if (!api || !Array.isArray(rows)) return clientside.no_update;
      var picked = rows.filter(function (row) { return row.status !== "unreadable"; }).map(function (row) { return row.key; });
      // Rows that the filter hides keep their selection.
      var before = selected || [];
      var found = before.map(function (key) {
        return key && known.has(key) && api.getRowNode(key) && picked.indexOf(key) < 0 ? "" : key;
      });
      picked.forEach(function (key) {
        if (found.indexOf(key) >= 0) return;
        var free = found.indexOf("");
        if (free >= 0) found[free] = key;
        else if (found.length < MAX_SELECTED) found.push(key);
      });
      found = trimmed(found);
      if (same(found, before)) return clientside.no_update;
      fromTable = found;
      picked.forEach(known.add, known);
      return found;
    },
    zoomed: function (moved, x, log, before) {
      if (!moved) return clientside.no_update;
      var low = moved["xaxis.range[0]"], high = moved["xaxis.range[1]"];
      if (low === undefined && moved["xaxis.range"]) { low = moved["xaxis.range"][0]; high = moved["xaxis.range"][1]; }
      var now;
      if (low !== undefined && high !== undefined) {
        var isLog = x !== "wall" && (log || []).indexOf("x") >= 0;
        now = [axisValue(low, isLog), axisValue(high, isLog)];
      } else if (moved["xaxis.autorange"]) now = null;
      else return clientside.no_update;
      return same(now, before === undefined ? null : before) ? clientside.no_update : now;
    },
    watchCharts: function () {
      setTimeout(watchCards, 0);
      setTimeout(watchCards, 250);
      return clientside.no_update;
    },
    collectSettings: function (values, settings) {
      var found = Object.assign({}, settings), given = clientside.callback_context.inputs_list[0];
      given.forEach(function (one) {
        var value = one.value;
        if (value === undefined) return;
        if (isUsual(one.id.set, value)) delete found[one.id.set];
        else found[one.id.set] = value === null ? (Array.isArray(found[one.id.set]) ? [] : "") : value;
      });
      return same(found, settings) ? clientside.no_update : found;
    },
    writeAddress: function (view, selected, settings, defaults) {
      slots = selected || [];
      setTimeout(labelParts, 0);
      var fields = [], add = function (name, value) {
        fields.push(encodeURIComponent(name) + "=" + encodeURIComponent(value).replace(/%2C/g, ",").replace(/%2F/g, "/"));
      };
      if (view && view !== "runs") add("view", view);
      if (slots.length) add("runs", slots.map(function (key) { return key || "-"; }).join(","));
      Object.keys(settings || {}).forEach(function (name) {
        var value = settings[name], usual = defaults[name];
        if (!same(value, usual)) add(name, Array.isArray(value) ? value.join("\n") : value);
      });
      var target = fields.length ? "?" + fields.join("&") : location.pathname;
      var old = new URLSearchParams(location.search).get("view") || "runs";
      if (location.search !== target) {
        history[old === (view || "runs") ? "replaceState" : "pushState"](null, "", target);
      }
      if (same(slots, fromTable)) showColours();
      else showSelection();
      return clientside.no_update;
    },
  };

  // The grid shows new rows after a short delay; they cannot be selected before.
  function selectRunsInGrid() {
    var left = 40;
    (function again() {
      var api = gridApi();
      if (--left > 0 && document.getElementById("grid") && (!api || api.getDisplayedRowCount() === 0)) setTimeout(again, 50);
      else {
        showSelection(true);
        if (window.innerWidth < 640 && api) api.setColumnWidths([{ key: "name", newWidth: 150 }]);
        setTimeout(showSelection, 400, true); // again, after later updates of the grid itself
      }
    })();
  }

  // ---- clicks and keys ----------------------------------------------------------------------------

  document.addEventListener("click", function (event) {
    var go = event.target.closest("[data-go]"), out = event.target.closest("[data-out]");
    if (go) setProps("tabs", { active_tab: go.getAttribute("data-go") });
    if (out) {
      var key = out.getAttribute("data-out");
      var left = key === "*" ? [] : trimmed(slots.map(function (one) { return one === key ? "" : one; }));
      setProps("selected", { data: left });
    }
    var pick = event.target.closest("[data-pick]");
    if (pick) setProps("selected", { data: JSON.parse(pick.getAttribute("data-pick")) });
    if (event.target.closest("#theme-switch")) {
      var html = document.documentElement;
      var theme = html.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
      html.setAttribute("data-bs-theme", theme);
      document.cookie = "ntrack_theme=" + theme + "; path=/; max-age=31536000; SameSite=Lax";
      setProps("theme", { data: theme });
    }
    var copy = event.target.closest("#copy-address");
    if (copy && navigator.clipboard) {
      navigator.clipboard.writeText(location.href).then(function () {
        copy.querySelector("code").textContent = "copied";
      });
    }
  });

  // Back and forward: Dash does not notice them, because this script writes the address.
  window.addEventListener("popstate", function () {
    setProps("history", { data: { search: location.search, at: Date.now() } });
  });

  document.addEventListener("keydown", function (event) {
    var step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], tab = event.target.closest("[role=tab]");
    if (step && tab) {
      var tabs = Array.from(document.querySelectorAll(".main-tabs [role=tab]"));
      var next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
      event.preventDefault();
      event.stopPropagation();
      next.focus();
      next.click();
      return;
    }
    var typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      var field = document.querySelector("#content input[type=search]");
      if (field) { event.preventDefault(); field.focus(); }
    }
  }, true);

  // A hidden page does not poll.
  document.addEventListener("visibilitychange", function () {
    if (document.getElementById("tabs")) setProps("poll", { disabled: document.hidden });
  });

  var originalFetch = window.fetch;
  window.fetch = function () {
    return originalFetch.apply(this, arguments).then(function (answer) {
      document.body.classList.remove("is-offline");
      return answer;
    }, function (failed) {
      document.body.classList.add("is-offline");
      throw failed;
    });
  };
})();
