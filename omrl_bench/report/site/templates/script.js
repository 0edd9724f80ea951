"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const table = document.querySelector("#table table");
  const head = table.tHead.rows[0];
  const body = table.tBodies[0];
  const more = document.getElementById("more");
  const ALL = "all"; // family that stands for the mean over the families
  const DASH = "\u2013";
  const LIMIT = 100; // rows that are drawn at first: drawing takes far longer than sorting

  const objects = ({ columns, data: rows }) =>
    rows.map((row) => Object.fromEntries(row.map((value, place) => [columns[place], value])));
  const runs = objects(data.runs).map((run) => ({ ...run, entries: new Map(), open: false }));
  objects(data.entries).forEach((entry) => runs[entry.run].entries.set(entry.condition, entry));
  const boards = data.boards.map((board) => ({
    ...board,
    runs: runs.filter((run) => run.suite === board.suite && run.preset === board.preset),
  }));
  const suites = [...new Set(boards.map((board) => board.suite))];

  // ---- state: what the address holds -------------------------------------------------------------------------

  const FILTERS = ["preset", "condition", "family", "dataset", "backbone", "privileges", "search", "returns"];
  let state, board; // board is the one that the state names

  function boardOf(suite, preset) {
    const those = boards.filter((each) => each.suite === suite);
    return those.find((each) => each.preset === preset) || those.find((each) => each.preset === "standard") || those[0];
  }

  function defaults(of) {
    return {
      suite: of.suite, preset: boardOf(of.suite).preset, condition: of.main_condition, family: of.families[0],
      dataset: "", backbone: "", privileges: "", search: "", returns: "", sort: "-score",
    };
  }

  /** Take what the address says, where it makes sense, and the defaults elsewhere. */
  function readAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    board = boardOf(suites.includes(asked.get("suite")) ? asked.get("suite") : suites[0], asked.get("preset"));
    const known = options(board);
    state = { ...defaults(board), preset: board.preset };
    for (const name of FILTERS.filter((each) => each !== "preset")) {
      const value = asked.get(name);
      if (value !== null && (!known[name] || known[name].some((each) => each[0] === value))) state[name] = value;
    }
    state.returns = state.returns ? "1" : "";
    const sort = asked.get("sort");
    if (sort && columns().some((column) => column.name === sort.replace(/^-/, ""))) state.sort = sort;
  }

  function writeAddress() {
    const usual = defaults(board);
    const kept = Object.entries(state).filter(([name, value]) => name === "suite" || value !== usual[name]);
    history.replaceState(null, "", "#" + new URLSearchParams(kept));
  }

  // ---- what can be chosen ------------------------------------------------------------------------------------

  /** Of each menu, the values and their labels. */
  function options(of) {
    const distinct = (name) => [...new Set(of.runs.map((run) => run[name]))].sort();
    const same = (values) => values.map((value) => [value, value]);
    const seen = [...new Set(of.runs.flatMap((run) => run.privileges))].sort();
    return {
      preset: same(boards.filter((each) => each.suite === of.suite).map((each) => each.preset)),
      condition: same(of.conditions),
      family: [
        ...of.families.map((name) => [name, name === ALL ? "mean over families" : name]),
        ...(of.families.length > 1 ? [["", "every family, a row each"]] : []),
      ],
      dataset: [["", "any"], ...same(distinct("dataset"))],
      backbone: [["", "any"], ...same(distinct("backbone"))],
      privileges: [["", "any"], ["none", "none"], ["some", "some"], ...seen.map((name) => ["with " + name, name])],
    };
  }

  function shown(run) {
    const words = state.search.toLowerCase().split(/\s+/);
    const { privileges } = state;
    return (
      (!state.family || run.family === state.family) &&
      (state.family || board.families.length < 2 || run.family !== ALL) &&
      (!state.dataset || run.dataset === state.dataset) &&
      (!state.backbone || run.backbone === state.backbone) &&
      (!privileges ||
        (privileges === "none" && !run.privileges.length) ||
        (privileges === "some" && run.privileges.length > 0) ||
        run.privileges.some((name) => "with " + name === privileges)) &&
      words.every((word) => run.method.toLowerCase().includes(word))
    );
  }

  // ---- columns -----------------------------------------------------------------------------------------------

  const fixed = (value, decimals) => value.toFixed(decimals).replace(/^-(0\.?0*)$/, "$1");
  const interval = (entry, name, decimals) =>
    `[${fixed(entry[name + "_low"], decimals)}, ${fixed(entry[name + "_high"], decimals)}]`;
  const placed = (entry) =>
    entry.rank_low === entry.rank_high ? `${entry.rank}` : `${entry.rank} (${entry.rank_low}${DASH}${entry.rank_high})`;
  const decimalsOf = (value) => (Math.abs(value) < 100 ? 2 : Math.abs(value) < 1000 ? 1 : 0);
  const returned = (entry) => {
    if (entry.return_mean === null) return DASH;
    const decimals = decimalsOf(entry.return_mean);
    return `${fixed(entry.return_mean, decimals)} ${interval(entry, "return_mean", decimals)}`;
  };
  const collapsed = (entry) =>
    `\u00a7 ${entry.collapsed.length === 1 ? "seed" : "seeds"} collapsed: ${entry.collapsed.join(", ")}`;
  const standardised = (entry) => (entry.z === null ? DASH : `${fixed(entry.z, 2)} ${interval(entry, "z", 2)}`);
  const time = (seconds) => (seconds < 90 ? `${fixed(seconds, 1)} s` : `${fixed(seconds / 60, 1)} min`);
  const count = (value) => Math.round(value).toLocaleString("en");
  const BADGES = { reference: "\u2713\u2713 reference", verified: "\u2713 verified", "self-reported": "self-reported" };
  const trust = (run) => Object.keys(BADGES).length - Object.keys(BADGES).indexOf(run.badge);
  const several = (name) => new Set(board.runs.map((run) => run[name])).size > 1;

  /** Columns: the value to sort by, the text (or element) to show; `up` if the first click sorts upwards. */
  function columns() {
    const ofEntry = (name, label, key, show) =>
      ({ name, label, number: true, value: (run, entry) => entry && entry[key], show: (run, entry) => show(entry) });
    const ofRun = (name, label, value, show = value) => ({ name, label, value, show, up: true });
    const one = (name, label) => ofRun(name, label, (run) => run[name]);
    return [
      { ...ofEntry("rank", "Rank", "rank", placed), up: true },
      ofRun("method", "Method", (run) => run.method, methodCell),
      ...(state.family === "" ? [one("family", "Family")] : []),
      ...(several("dataset") ? [one("dataset", "Data")] : []),
      ...(several("backbone") ? [one("backbone", "Backbone")] : []),
      ofEntry("score", "Score", "score", scoreCell),
      ...(state.family === ALL ? [ofEntry("z", "Mean z-score", "z", standardised)] : []),
      ...(state.returns ? [ofEntry("return", "Return", "return_mean", returned)] : []),
      { ...ofRun("badge", "Badge", trust, (run) => BADGES[run.badge]), up: false },
      ...(board.runs.some((run) => run.ruleset) ? [
        one("ruleset", "Ruleset"),
        { ...ofRun("tuning", "Tuning episodes", (run) => run.tuning_episodes, (run) => count(run.tuning_episodes)), number: true },
      ] : []),
      ofEntry("sizes", "Seeds \u00d7 tasks", "seeds", (entry) => `${entry.seeds} \u00d7 ${entry.tasks}`),
      {
        ...ofRun("time", "Time per seed", (run) => run.training_seconds, (run) => time(run.training_seconds)),
        number: true,
      },
      { ...ofRun("parameters", "Parameters", (run) => run.parameters, (run) => count(run.parameters)), number: true },
      ofRun("privileges", "Privileges", (run) => run.privileges.join(", ")),
      { ...ofRun("date", "Date", (run) => run.created, (run) => run.created.slice(0, 10)), up: false },
      { ...ofRun("version", "Version", (run) => run.versions["omrl-bench"]), up: false },
      ofRun("commit", "Commit", (run) => run.commits.map((each) => each.slice(0, 7)).join(", ")),
    ];
  }

  /** Whether a column has nothing to show, nor to sort by, in a row. */
  const isMissing = (value) => value === null || value === undefined || value === "";

  // ---- the table ---------------------------------------------------------------------------------------------

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function drawing(tag, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  let axis; // scores at the ends of all interval bars
  function findAxis() {
    const entries = board.runs.map((run) => run.entries.get(state.condition)).filter(Boolean);
    const low = Math.min(0, ...entries.map((entry) => entry.score_low));
    const high = Math.max(100, ...entries.map((entry) => entry.score_high));
    axis = [Math.max(low, -25), Math.min(high, 125)]; // an outlier must not squeeze all the others
  }

  function scoreCell(entry) {
    const [low, high] = axis;
    const at = (value) => fixed(2 + (116 * (Math.min(Math.max(value, low), high) - low)) / (high - low), 1);
    const line = (value, kind) => drawing("line", { x1: at(value), x2: at(value), y1: 0, y2: 14, class: kind });
    const bar = drawing(
      "svg", { viewBox: "0 0 120 14", width: 120, height: 14, "aria-hidden": "true" },
      line(0, "mark"), line(100, "mark"),
      drawing("line", { x1: at(entry.score_low), x2: at(entry.score_high), y1: 7, y2: 7, class: "interval" }),
      drawing("circle", { cx: at(entry.score), cy: 7, r: 3.5 }),
    );
    const text = element("span", {}, element("b", {}, fixed(entry.score, 1)), ` ${interval(entry, "score", 1)}`);
    const cell = element("div", { className: "bar" }, text, bar);
    if (!entry.collapsed.length) return cell;
    return element("div", {}, cell, element("div", { className: "reason" }, collapsed(entry)));
  }

  function methodCell(run) {
    const button = element("button", { type: "button", className: "more" }, run.method);
    button.setAttribute("aria-expanded", String(run.open));
    button.title = "Show details";
    const cell = element("div", {}, button);
    if (run.control) cell.append(" ", element("small", {}, "control"));
    if (run.status !== "complete") {
      const others = run.reasons.length > 1 ? ` (and ${run.reasons.length - 1} more)` : "";
      cell.append(element("div", { className: "reason" }, (run.reasons[0] || run.status) + others));
    }
    button.addEventListener("click", () => {
      run.open = !run.open;
      button.setAttribute("aria-expanded", String(run.open));
      if (run.open) button.closest("tr").after(detailRow(run));
      else button.closest("tr").nextSibling.remove();
    });
    return cell;
  }

  function detailRow(run) {
    const list = element("dl", {});
    const add = (name, ...lines) =>
      lines.length && list.append(element("dt", {}, name), ...lines.map((line) => element("dd", {}, line)));
    for (const condition of board.conditions) {
      const entry = run.entries.get(condition);
      if (!entry) continue;
      add(`${board.kind} ${condition}`,
        `rank ${placed(entry)}${entry.could_be_best ? ", could be best" : ""}; score ${fixed(entry.score, 1)} ` +
        `${interval(entry, "score", 1)}; interquartile mean ${fixed(entry.iqm, 1)} ${interval(entry, "iqm", 1)}; ` +
        (entry.ratio === null ? "" : `ratio of sums ${fixed(entry.ratio, 1)} ${interval(entry, "ratio", 1)}; `) +
        `z-score ${standardised(entry)}; return ${returned(entry)}; ${entry.seeds} seeds \u00d7 ` +
        `${entry.tasks} tasks \u00d7 ${entry.draws} draws` + (entry.collapsed.length ? `; ${collapsed(entry)}` : ""));
    }
    add("Missing or failed", ...run.reasons);
    add("Badge", run.badge + (run.verified ? `: ${run.verified}` : ""));
    add("Doubts", ...run.doubts);
    if (run.ruleset) add("Submitted", `ruleset ${run.ruleset}, ${count(run.tuning_episodes)} episodes of tuning`);
    if (run.paper) add("Paper", run.paper);
    add("Table", `${run.dataset} data, backbone ${run.backbone}, family ${run.family}`);
    if (run.memory_mib) add("Peak memory", `${count(run.memory_mib)} MiB`);
    if (run.commits.length) add("Commit", ...run.commits);
    const versions = Object.entries(run.versions).map(([name, version]) => `${name} ${version}`);
    if (versions.length) add("Versions", versions.join("; "));
    const cell = element("td", { colSpan: head.cells.length }, element("div", { className: "details" }, list));
    return element("tr", { className: "detail" }, cell);
  }

  let rows = new Map(); // of the runs that have been shown, while the columns and the condition stay the same
  let drawn = ""; // what they were drawn for
  let all = false; // whether to draw more than the first rows
  function rowOf(run, shape) {
    if (rows.has(run)) return rows.get(run);
    const entry = run.entries.get(state.condition);
    const row = element("tr", { className: run.status });
    for (const column of shape) {
      const cell = document.createElement(column.name === "method" ? "th" : "td");
      if (column.name === "method") cell.scope = "row";
      cell.className = column.name + (column.number ? " number" : "");
      cell.append(isMissing(column.value(run, entry)) ? DASH : column.show(run, entry));
      row.append(cell);
    }
    rows.set(run, row);
    return row;
  }

  function drawHead(shape) {
    head.replaceChildren(...shape.map((column) => {
      const button = element("button", { type: "button" }, column.label);
      button.addEventListener("click", () => {
        const first = (column.up ? "" : "-") + column.name;
        state.sort = state.sort !== first ? first : (column.up ? "-" : "") + column.name;
        draw();
      });
      const cell = element("th", { scope: "col", className: column.name + (column.number ? " number" : "") }, button);
      cell.dataset.name = column.name;
      return cell;
    }));
  }

  const collator = new Intl.Collator("en", { numeric: true });
  function sorted(runs, column, down) {
    const keyed = runs.map((run) => {
      const entry = run.entries.get(state.condition);
      const value = column.value(run, entry);
      return { run, value, missing: isMissing(value), score: entry ? entry.score : -Infinity };
    });
    const compare = (a, b) => (typeof a === "string" ? collator.compare(a, b) : a - b);
    keyed.sort((a, b) =>
      a.missing - b.missing || // these are last, whatever the direction
      (a.missing ? 0 : (down ? -1 : 1) * compare(a.value, b.value)) ||
      b.score - a.score || collator.compare(a.run.method, b.run.method));
    return keyed.map((each) => each.run);
  }

  function draw() {
    const shape = columns();
    const wanted = JSON.stringify([board.suite, board.preset, state.condition, shape.map((column) => column.name)]);
    if (wanted !== drawn) {
      drawn = wanted;
      rows = new Map();
      all = false;
      findAxis();
      drawHead(shape);
    }
    let [, minus, name] = state.sort.match(/^(-?)(.*)$/);
    let column = shape.find((each) => each.name === name);
    if (!column) { // it is hidden now
      [state.sort, minus] = ["-score", "-"];
      column = shape.find((each) => each.name === "score");
    }
    const order = minus ? "descending" : "ascending";
    const visible = sorted(board.runs.filter(shown), column, minus === "-");
    const near = all ? visible : visible.slice(0, LIMIT);
    body.replaceChildren(...near.flatMap((run) => [rowOf(run, shape), ...(run.open ? [detailRow(run)] : [])]));
    more.hidden = near.length === visible.length;
    more.textContent = `Show all ${count(visible.length)} rows`;
    for (const cell of head.cells) {
      if (cell.dataset.name !== column.name) cell.removeAttribute("aria-sort");
      else cell.setAttribute("aria-sort", order);
    }
    document.getElementById("status").textContent =
      `${visible.length} ${visible.length === 1 ? "row" : "rows"}, sorted by ${column.label.toLowerCase()}, ${order}`;
    document.getElementById("caption").textContent =
      `Suite ${board.suite}, preset ${board.preset}, ${board.kind} ${state.condition}. ` +
      "A method's name opens its details.";
    drawVerdict();
    writeAddress();
  }

  // ---- around the table --------------------------------------------------------------------------------------

  function drawFilters() {
    document.getElementById("kind").textContent = board.kind[0].toUpperCase() + board.kind.slice(1);
    for (const [name, choices] of Object.entries(options(board))) {
      const menu = form.elements[name];
      menu.replaceChildren(...choices.map(([value, label]) => element("option", { value }, label)));
      menu.value = state[name];
      const real = choices.filter(([value]) => value !== "");
      menu.closest("label").hidden = real.length < 2 || (name === "privileges" && real.length < 3);
    }
    form.elements.search.value = state.search;
    form.elements.returns.checked = Boolean(state.returns);
    document.getElementById("title").textContent = board.title;
    const where = (each) => (board.tables.length > 1 ? `${each.dataset} data, backbone ${each.backbone}: ` : "");
    const notes = board.tables.flatMap((each) => each.notes.map((note) => where(each) + note));
    document.getElementById("notes").replaceChildren(
      ...(notes.length ? notes : ["Nothing is missing."]).map((note) => element("li", {}, note)));
  }

  const ofTable = (each) => (board.tables.length > 1 ? ` (${each.dataset} data, backbone ${each.backbone})` : "");
  const twoDecimals = (value) => (value === null ? DASH : fixed(value, 2));

  /** Above the table: which of the boards that are shown do not tell their methods apart. */
  function drawVerdict() {
    const weak = board.discrimination.filter((each) =>
      each.discriminates === false && each.condition === state.condition &&
      (state.family ? each.family === state.family : each.family !== ALL) &&
      (!state.dataset || each.dataset === state.dataset) && (!state.backbone || each.backbone === state.backbone));
    const where = weak.map((each) => `${each.family}${ofTable(each)}, reliability ${twoDecimals(each.reliability)}`);
    const verdict = document.getElementById("verdict");
    verdict.hidden = !weak.length;
    verdict.textContent =
      `\u2248 Does not discriminate: trained again, the methods would often be in another order: ${where.join("; ")}.`;
  }

  /** Below the table: how well each family and condition of the suite discriminates. */
  function drawDiscrimination() {
    const rows = board.discrimination;
    const known = rows.filter((each) => each.discriminates !== null);
    const weak = known.filter((each) => !each.discriminates);
    const section = document.getElementById("discrimination");
    section.hidden = !rows.length;
    section.querySelector("summary").textContent =
      "How well this suite tells its methods apart" +
      (known.length ? `: ${weak.length} of ${known.length} combinations of family and ${board.kind} do not` : "");
    section.querySelector("tbody").replaceChildren(...rows.map((each) => {
      const verdict = each.discriminates === null ? DASH : each.discriminates ? "yes" : "\u2248 no";
      const numbers = [
        each.methods, twoDecimals(each.between), twoDecimals(each.error), twoDecimals(each.reliability),
        twoDecimals(each.reliability_new), twoDecimals(each.rank_agreement), each.at_oracle ?? DASH, verdict,
      ];
      return element("tr", {},
        Object.assign(element("th", {}, each.family + ofTable(each)), { scope: "row" }),
        element("td", {}, each.condition),
        ...numbers.map((number) => element("td", { className: "number" }, String(number))));
    }));
  }

  function drawTabs() {
    const tabs = suites.map((suite) => {
      const tab = element("button", { type: "button", id: `tab-${suites.indexOf(suite)}` }, suite);
      const chosen = suite === state.suite;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-selected", String(chosen));
      tab.setAttribute("aria-controls", "panel");
      tab.tabIndex = chosen ? 0 : -1;
      tab.addEventListener("click", () => open(suite));
      return tab;
    });
    document.getElementById("tabs").replaceChildren(...tabs);
    document.getElementById("panel").setAttribute("aria-labelledby", `tab-${suites.indexOf(state.suite)}`);
  }

  function drawAll() {
    drawTabs();
    drawFilters();
    drawDiscrimination();
    draw();
  }

  /** Show a suite, keeping what can be kept of the choices. */
  function open(suite, preset) {
    const { search, privileges, returns, sort } = state;
    const kept = suite === state.suite ? state : { search, privileges, returns, sort };
    const address = new URLSearchParams({ ...kept, suite, preset: boardOf(suite, preset).preset });
    history.replaceState(null, "", "#" + address);
    readAddress();
    drawAll();
    document.querySelector("[role=tab][aria-selected=true]").focus();
  }

  document.getElementById("tabs").addEventListener("keydown", (event) => {
    const place = suites.indexOf(state.suite);
    const moves = { ArrowRight: place + 1, ArrowLeft: place - 1 + suites.length, Home: 0, End: suites.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    open(suites[moves[event.key] % suites.length]);
  });
  form.addEventListener("input", (event) => {
    const { name, type, value, checked } = event.target;
    if (name === "preset") {
      open(state.suite, value);
      event.target.focus();
      return;
    }
    state[name] = type === "checkbox" ? (checked ? "1" : "") : value;
    draw();
  });
  more.addEventListener("click", () => { all = true; draw(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    state = { ...defaults(board), preset: board.preset };
    drawFilters();
    draw();
  });
  window.addEventListener("hashchange", () => { readAddress(); drawAll(); });

  document.querySelector(".skip").addEventListener("click", (event) => { // the address belongs to the state
    event.preventDefault();
    document.getElementById("table").focus();
  });

  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const showTheme = () => theme.setAttribute("aria-pressed", String(dark()));
  const remembered = (value) => { // a page from disk may have no storage
    try { return value ? localStorage.setItem("theme", value) : localStorage.getItem("theme"); } catch { return null; }
  };
  if (["dark", "light"].includes(remembered())) root.dataset.theme = remembered();
  system.addEventListener("change", showTheme);
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remembered(root.dataset.theme);
    showTheme();
  });
  showTheme();

  theme.hidden = document.getElementById("app").hidden = false;
  readAddress();
  drawAll();
})();
