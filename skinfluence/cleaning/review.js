"use strict";
(() => {
  // Texts of the table reach the page as text nodes and attributes only; nothing here parses HTML.
  const sheet = document.getElementById("review");
  const { table, target, task } = sheet.dataset;
  const items = [...sheet.querySelectorAll("tbody.item")];
  const find = (id) => document.getElementById(id);
  const key = `skinfluence review ${table} ${target}`;
  const COLUMNS = ["table", "target", "row", "id", "given", "decision", "action", "label"];
  // What spreadsheets run comes after an apostrophe; `skinfluence apply` takes it off again.
  const FORMULA = /^'*[=+\-@\t\r\n]/;

  let decisions = {};
  let current = -1;
  let stored = true;

  function load() {
    try {
      const text = localStorage.getItem(key);
      return text === null ? {} : JSON.parse(text);
    } catch {
      stored = false;
      return decisions;
    }
  }

  function store() {
    try {
      localStorage.setItem(key, JSON.stringify(decisions));
    } catch {
      stored = false;
    }
  }

  function suggestion({ dataset }) {
    return { decision: "accept", action: dataset.action, label: dataset.action === "relabel" ? dataset.label : "" };
  }

  function inWords({ action, label }) {
    return action === "relabel" ? `→ ${label}` : action;
  }

  function decide(item, decision) {
    if (decision === null) delete decisions[item.dataset.row];
    else decisions[item.dataset.row] = decision;
    store();
    show(item);
    tell();
  }

  function show(item) {
    const decision = decisions[item.dataset.row];
    item.classList.toggle("decided", decision !== undefined);
    const chip = item.querySelector(".decision");
    chip.textContent = decision === undefined ? "" : inWords(decision);
    chip.className = `decision ${decision === undefined ? "" : `chip ${decision.action}`}`;
    for (const button of item.querySelectorAll("button[data-do]")) {
      button.setAttribute("aria-pressed", String(decision !== undefined && decision.decision === button.dataset.do));
    }
  }

  function tell() {
    const known = items.map((item) => decisions[item.dataset.row]).filter((one) => one !== undefined);
    const count = (action) => known.filter((one) => one.action === action).length;
    const parts = [`${known.length} of ${items.length} decided`];
    if (task === "classification" || count("relabel")) parts.push(`${count("relabel")} to relabel`);
    parts.push(`${count("drop")} to drop`, `${count("keep")} to keep`);
    find("progress").textContent = parts.join(" · ");
    find("meter").value = known.length;
    find("save").disabled = find("forget").disabled = known.length === 0;
    find("unstored").hidden = stored;
  }

  // Which rows are shown -------------------------------------------------------------------------

  function wanted(item) {
    const { row, action } = item.dataset;
    const state = find("state").value;
    const decided = decisions[row] !== undefined;
    if (state === "open" && decided) return false;
    if (state === "decided" && !decided) return false;
    if (state === "suggested" && action === "keep") return false;
    if (["relabel", "drop", "keep"].includes(state) && action !== state) return false;
    const label = find("label").value;
    if (label !== "" && item.dataset.given !== label.slice(1)) return false;
    const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    return words.every((word) => texts.get(item).includes(word));
  }

  function filter() {
    let n = 0;
    for (const item of items) {
      item.hidden = !wanted(item);
      n += !item.hidden;
    }
    find("shown").textContent = `${n} of ${items.length} rows shown`;
    if (current >= 0 && items[current].hidden) move(1);
  }

  function select(at) {
    if (current >= 0) items[current].classList.remove("current");
    current = at;
    if (at < 0) return;
    items[at].classList.add("current");
    items[at].scrollIntoView({ block: "nearest" });
  }

  function move(step) {
    let at = current;
    do at += step; while (at >= 0 && at < items.length && items[at].hidden);
    if (at >= 0 && at < items.length) select(at);
    else if (current >= 0 && items[current].hidden) select(items.findIndex((item) => !item.hidden));
  }

  // One row --------------------------------------------------------------------------------------

  function act(item, what) {
    if (what === "accept") decide(item, suggestion(item));
    else if (what === "reject") decide(item, { decision: "reject", action: "keep", label: "" });
    else if (what === "undo") decide(item, null);
    else edit(item);
    if (what === "accept" || what === "reject") move(1);
  }

  function edit(item) {
    const editor = item.querySelector(".editor");
    const input = editor.querySelector("input");
    const decision = decisions[item.dataset.row];
    editor.hidden = false;
    input.value = decision !== undefined && decision.action === "relabel" ? decision.label : "";
    if (input.value === "" && item.dataset.label !== item.dataset.given && task === "classification") {
      input.value = item.dataset.label;
    }
    input.focus();
    input.select();
  }

  function close(item) {
    item.querySelector(".editor").hidden = true;
    document.activeElement.blur();
  }

  function change(item, action) {
    const input = item.querySelector(".editor input");
    const label = input.value.trim();
    if (action === "relabel" && (label === "" || (task === "regression" && !Number.isFinite(Number(label))))) {
      input.setCustomValidity(task === "regression" ? "A number, please." : "A label, please.");
      input.reportValidity();
      return;
    }
    const same = action === "relabel" && label === item.dataset.given;
    close(item);
    decide(item, { decision: "change", action: same ? "keep" : action, label: action === "relabel" && !same ? label : "" });
    move(1);
  }

  // The file -------------------------------------------------------------------------------------

  function cell(text) {
    const inert = FORMULA.test(text) && !(text.trim() !== "" && Number.isFinite(Number(text))) ? `'${text}` : text;
    return /[",\r\n']/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
  }

  function asCsv() {
    const lines = [COLUMNS.join(",")];
    for (const { dataset } of items) {
      const decision = decisions[dataset.row];
      if (decision === undefined) continue;
      const { row, id, given } = dataset;
      const line = { table, target, row, id, given, ...decision };
      lines.push(COLUMNS.map((name) => cell(String(line[name]))).join(","));
    }
    return lines.join("\r\n") + "\r\n";
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv;charset=utf-8" }));
    link.download = "decisions.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // Listening ------------------------------------------------------------------------------------

  const KEYS = { a: "accept", r: "reject", c: "change", u: "undo" };

  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key === "Escape" && typing) {
      if (current >= 0) close(items[current]);
      event.target.blur();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") find("search").focus();
    else if (event.key === "j" || event.key === "ArrowDown") move(1);
    else if (event.key === "k" || event.key === "ArrowUp") move(-1);
    else if (event.key === "n") select(items.findIndex((item, at) => at > current && !item.hidden && decisions[item.dataset.row] === undefined));
    else if (event.key === "d" && current >= 0) items[current].querySelectorAll("details").forEach((one) => { one.open = !one.open; });
    else if (KEYS[event.key] && current >= 0) act(items[current], KEYS[event.key]);
    // Nothing is decided about a row that is not marked: the first one is.
    else if (KEYS[event.key] || event.key === "d") move(1);
    else return;
    event.preventDefault();
  });

  sheet.addEventListener("click", (event) => {
    const item = event.target.closest("tbody.item");
    if (item === null) return;
    select(items.indexOf(item));
    const button = event.target.closest("button");
    if (button === null) return;
    if (button.dataset.do) act(item, button.dataset.do);
    else if (button.dataset.change) change(item, button.dataset.change);
  });

  sheet.addEventListener("input", (event) => {
    if (event.target.matches(".editor input")) event.target.setCustomValidity("");
  });

  sheet.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches(".editor input")) {
      event.preventDefault();
      change(event.target.closest("tbody.item"), "relabel");
    }
  });

  for (const id of ["state", "label"]) find(id).addEventListener("change", filter);
  find("search").addEventListener("input", filter);
  find("save").addEventListener("click", save);
  find("acceptall").addEventListener("click", () => {
    for (const item of items) {
      if (!item.hidden && decisions[item.dataset.row] === undefined) decide(item, suggestion(item));
    }
  });
  find("forget").addEventListener("click", () => {
    if (!confirm("Forget all decisions about this table?")) return;
    decisions = {};
    store();
    items.forEach(show);
    tell();
    filter();
  });
  window.addEventListener("storage", (event) => {
    if (event.key !== key && event.key !== null) return;
    decisions = load();
    items.forEach(show);
    tell();
  });

  const texts = new Map(items.map((item) => [item, item.textContent.toLowerCase()]));
  const seen = [...new Set(items.map(({ dataset }) => dataset.given))].sort();
  for (const label of task === "classification" ? seen : []) {
    const option = document.createElement("option");
    option.value = `=${label}`;
    option.textContent = label;
    find("label").append(option);
  }
  find("label").hidden = task !== "classification";
  find("meter").max = items.length;
  decisions = load();
  items.forEach(show);
  tell();
  filter();
  document.documentElement.classList.add("live");
})();
