"use strict";
// The search page: asks /v1/search as you type, and shows what came and why.

const MODES = ["auto", "hybrid", "dense", "lexical"];
const TOP_K = 10, DEBOUNCE_MS = 180;
const $ = id => document.getElementById(id);
const make = (tag, text = "", name = "") => Object.assign(document.createElement(tag), { textContent: text, className: name });
const filters = Object.create(null); // field -> what is wanted of it
let asking = null, timer = null, asked = "";

async function fetched(path, body, signal) {
  const headers = { "content-type": "application/json" };
  const key = sessionStorage.getItem("key");
  if (key) headers.authorization = `Bearer ${key}`;
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body), signal } : { headers, signal });
  if (answer.status === 401) { $("unlock").hidden = false; $("key").focus(); }
  const content = await answer.json();
  if (answer.ok) return content;
  const detail = content.detail;
  throw new Error(Array.isArray(detail) ? detail.map(row => `${row.loc.slice(1).join(".")}: ${row.msg}`).join("; ") : detail);
}

function search(now = false) {
  clearTimeout(timer);
  timer = setTimeout(run, now ? 0 : DEBOUNCE_MS);
}

async function run() {
  const query = $("query").value.trim();
  const modes = $("compare").checked ? [$("mode").value, $("beside").value] : [$("mode").value];
  const request = JSON.stringify([query, modes, filters]);
  if (request === asked) return;
  asked = request;
  asking?.abort(); // an answer to what was typed before is stale
  remember(query);
  if (!query) { $("columns").replaceChildren(); say("Type a query."); return; }
  const signal = (asking = new AbortController()).signal;
  say("Searching …");
  $("columns").classList.add("busy");
  try {
    for (const explain of [false, true]) { // why they stand there takes longer than what stands there
      const bodies = modes.map(mode => ({ query, mode, top_k: TOP_K, filter: filters, explain }));
      const asking = Promise.all(bodies.map(body => fetched("v1/search", body, signal)));
      const answers = await (explain ? asking.catch(() => null) : asking); // results stand without their reasons
      if (!answers) return;
      if (signal.aborted) return;
      show(answers, !explain);
      $("columns").classList.remove("busy");
    }
  } catch (error) {
    if (signal.aborted) return;
    asked = "";
    $("columns").replaceChildren();
    say(error instanceof TypeError ? "The server cannot be reached." : `Failed: ${error.message}`, true);
  } finally {
    if (!signal.aborted) $("columns").classList.remove("busy");
  }
}

function say(text, failed = false) {
  $("status").textContent = text;
  $("status").classList.toggle("failed", failed);
}

function show(answers, fresh) {
  const two = answers.length > 1, rows = () => [...document.querySelectorAll("li")];
  const opened = fresh ? [] : rows().map(row => row.getAttribute("aria-expanded") === "true"), at = rows().indexOf(document.activeElement);
  $("columns").classList.toggle("two", two);
  $("columns").replaceChildren(...answers.map((answer, i) => column(answer, two ? answers[1 - i] : null)));
  opened.forEach((open, i) => open && rows()[i] && toggle(rows()[i]));
  if (!fresh && at >= 0) rows()[at]?.focus();
  if (!fresh) return; // the time that is shown is the search's
  const counts = answers.map(answer => `${answer.results[0].length} by ${answer.mode} search in ${answer.took_ms} ms`);
  say(`${counts.join(", ")} · version ${answers[0].version}`);
}

function column(answer, other) {
  const hits = answer.results[0], section = make("section");
  section.setAttribute("aria-label", `Results by ${answer.mode} search`);
  if (other) section.append(make("h2", answer.mode));
  if (!hits.length) section.append(make("p", "Nothing found. Try other words, another mode, or fewer filters."));
  const greatest = leg => Math.max(...hits.map(hit => hit.explain?.[leg].score ?? 0), 1e-9);
  const most = { dense: greatest("dense"), lexical: greatest("lexical") };
  const list = make("ol");
  list.append(...hits.map((hit, rank) => item(hit, rank, most, other && other.results[0])));
  section.append(list);
  return section;
}

function item(hit, rank, most, others) {
  const row = make("li");
  row.tabIndex = 0;
  row.setAttribute("aria-expanded", "false");
  row.append(make("span", `${rank + 1}.`, "rank"), heading(hit));
  if (others) {
    const place = others.findIndex(other => other.doc_id === hit.doc_id);
    if (place < 0) row.append(make("span", "only here", "moved gone"));
    else if (place !== rank) row.append(make("span", `there ${place + 1}.`, "moved"));
  }
  const text = make("p", "", "text");
  text.append(...highlighted(hit.text, hit.explain, hit.passage));
  row.append(text, ...(hit.explain ? [legs(hit, most)] : []));
  const data = Object.entries(hit.metadata).filter(([, value]) => value !== null);
  if (data.length) row.append(make("p", data.map(([name, value]) => `${name}: ${shown(value)}`).join(" · "), "data"));
  row.addEventListener("click", () => { if (!getSelection().toString()) toggle(row); });
  return row;
}

function shown(value) {
  return Array.isArray(value) && value.every(part => typeof part !== "object") ? value.join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value);
}

function heading(hit) {
  const title = make("h3");
  title.append(...highlighted(hit.title || hit.doc_id, hit.title ? hit.explain : undefined));
  return title;
}

function toggle(row) {
  row.setAttribute("aria-expanded", String(row.getAttribute("aria-expanded") !== "true"));
}

function legs(hit, most) {
  const box = make("div", "", "legs");
  for (const leg of ["dense", "lexical"]) {
    const { score, rank } = hit.explain[leg], bar = make("span", "", `bar ${leg}`), filled = make("span");
    filled.style.setProperty("--share", `${Math.round(100 * Math.max(0, (score ?? 0) / most[leg]))}%`);
    bar.append(filled);
    box.append(make("span", leg), bar, make("span", `${score?.toFixed(3) ?? "no score"}${rank ? `, ${rank}.` : ", not among the first"}`));
  }
  return box;
}

// the text in pieces: the nearest sentence, else the best passage, has a ground of its own, matching words are marked
function highlighted(text, explain = { words: [], sentence: null }, passage = null) {
  const escape = part => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const words = explain.words.map(escape).sort((a, b) => b.length - a.length).join("|");
  const spaced = /^[\p{L}\p{N}_]+$/u.test(explain.words.join("")) && !/[\p{sc=Han}\p{sc=Thai}\p{sc=Hiragana}\p{sc=Katakana}]/u.test(words);
  const pattern = words && new RegExp(spaced ? `(?<![\\p{L}\\p{N}_])(?:${words})(?![\\p{L}\\p{N}_])` : words, "gu");
  const marked = part => {
    if (!pattern) return [document.createTextNode(part)];
    const pieces = [];
    let end = 0;
    for (const match of part.matchAll(pattern)) {
      pieces.push(document.createTextNode(part.slice(end, match.index)), make("mark", match[0]));
      end = match.index + match[0].length;
    }
    return [...pieces, document.createTextNode(part.slice(end))];
  };
  const wanted = explain.sentence || passage;
  const place = wanted && text.match(new RegExp(wanted.trim().split(/\s+/).map(escape).join("\\s+")));
  if (!place) return marked(text);
  const near = make("span", "", "near");
  near.append(...marked(place[0]));
  const before = make("span", "", "before"); // not shown before the text is opened: what matters is to be seen
  before.append(...marked(text.slice(0, place.index)));
  return [before, near, ...marked(text.slice(place.index + place[0].length))];
}

function showFields(fields) {
  const names = Object.keys(fields).filter(name => fields[name].kind === "number" || fields[name].values?.length);
  $("filters").hidden = !names.length;
  $("fields").replaceChildren(...names.map(name => (fields[name].kind === "number" ? ends(name, fields[name]) : choice(name, fields[name]))));
}

function choice(name, { kind, values }) {
  const label = make("label", name), select = make("select");
  select.append(new Option("any", ""), ...values.map(value => new Option(String(value), JSON.stringify(value))));
  select.addEventListener("change", () => want(name, select.value ? JSON.parse(select.value) : undefined));
  label.append(select);
  return label;
}

function ends(name, { least, greatest }) {
  const group = make("fieldset"), row = make("div", "", "ends"), inputs = {};
  group.append(make("legend", name), row);
  for (const [key, words, value] of [["gte", "from", least], ["lte", "to", greatest]]) {
    const input = Object.assign(make("input"), { type: "number", step: "any", placeholder: `${words} ${value}` });
    input.setAttribute("aria-label", `${name} ${words}`);
    input.addEventListener("input", () => {
      const given = Object.entries(inputs).filter(([, end]) => end.value !== "").map(([end, { value }]) => [end, Number(value)]);
      want(name, given.length ? Object.fromEntries(given) : undefined);
    });
    row.append((inputs[key] = input));
  }
  return group;
}

function want(name, value) {
  if (value === undefined) delete filters[name]; else filters[name] = value;
  const count = Object.keys(filters).length;
  $("chosen").textContent = count ? `(${count})` : "";
  search();
}

function remember(query) {
  const parameters = new URLSearchParams();
  if (query) parameters.set("q", query);
  if ($("mode").value !== "auto") parameters.set("mode", $("mode").value);
  if ($("compare").checked) parameters.set("beside", $("beside").value);
  history.replaceState(null, "", parameters.size ? `?${parameters}` : location.pathname);
}

function keys(event) {
  const rows = [...document.querySelectorAll("li")], at = rows.indexOf(document.activeElement);
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName) && document.activeElement !== $("query");
  if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) { event.preventDefault(); $("query").select(); }
  else if (event.key === "Escape") $("query").select();
  else if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key === "ArrowDown" && rows.length) { event.preventDefault(); rows[Math.min(at + 1, rows.length - 1)].focus(); }
  else if (event.key === "ArrowUp" && at >= 0) { event.preventDefault(); (rows[at - 1] ?? $("query")).focus(); }
  else if (event.key === "Enter" && at >= 0) { event.preventDefault(); toggle(rows[at]); }
}

async function start() {
  for (const id of ["mode", "beside"]) $(id).replaceChildren(...MODES.map(mode => new Option(mode, mode)));
  $("beside").value = "lexical";
  const given = new URLSearchParams(location.search);
  $("query").value = given.get("q") ?? "";
  if (MODES.includes(given.get("mode"))) $("mode").value = given.get("mode");
  if (MODES.includes(given.get("beside"))) { $("beside").value = given.get("beside"); $("compare").checked = true; }
  $("other").hidden = !$("compare").checked;
  run();
  try {
    const health = await fetched("healthz");
    $("served").textContent = `${health.documents.toLocaleString("en")} documents, version ${health.version}${health.refused ? ` (${health.refused.version || "the alias"} was refused: ${health.refused.why})` : ""}`;
    showFields(await fetched("v1/fields"));
  } catch (error) { say(error instanceof TypeError ? "The server cannot be reached." : error.message, true); }
}

$("form").addEventListener("submit", event => { event.preventDefault(); asked = ""; search(true); });
$("query").addEventListener("input", () => search());
for (const id of ["mode", "beside", "compare"]) $(id).addEventListener("change", () => { $("other").hidden = !$("compare").checked; search(true); });
$("clear").addEventListener("click", () => {
  for (const name of Object.keys(filters)) delete filters[name];
  for (const field of $("fields").querySelectorAll("input, select")) field.value = "";
  $("chosen").textContent = "";
  search(true);
});
$("unlock").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value);
  $("unlock").hidden = true;
  asked = "";
  start();
});
document.addEventListener("keydown", keys);
start();
