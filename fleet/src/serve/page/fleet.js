"use strict";
// Every word of a board is set as text, never as markup.
const $ = (id) => document.getElementById(id);
const KEY = "hypriot-fleet-token";
const make = (name, kind, text) => {
  const node = document.createElement(name);
  if (kind) node.className = kind;
  if (text !== undefined) node.textContent = text;
  return node;
};
const token = () => sessionStorage.getItem(KEY) || "";
const headers = () => (token() ? { authorization: "Bearer " + token() } : {});
const count = (n, one, many) => n + " " + (n === 1 ? one : many);
const ago = (seconds) => {
  const s = Math.max(0, seconds);
  if (s < 90) return s + " s ago";
  if (s < 5400) return Math.round(s / 60) + " min ago";
  if (s < 129600) return Math.round(s / 3600) + " h ago";
  return Math.round(s / 86400) + " d ago";
};
const STATES = { ok: "ok", warn: "warning", ill: "not well", silent: "silent", out: "out", failed: "failed" };
// what needs an eye first
const ORDER = { failed: 0, ill: 1, silent: 2, out: 3, warn: 4, ok: 5 };

function problem(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text || "";
}

async function say(group, word, body) {
  const response = await fetch("v1/groups/" + encodeURIComponent(group) + "/" + word, {
    method: "POST",
    headers: { ...headers(), "content-type": "application/json" },
    body: JSON.stringify({ by: "the page", ...body }),
  });
  if (response.ok) return problem("");
  const said = await response.json().catch(() => ({ value: response.statusText }));
  if (response.status === 401) $("operator").open = true;
  problem(word + ": " + said.value);
}

function button(text, label, act) {
  const node = make("button", "", text);
  node.type = "button";
  node.setAttribute("aria-label", label);
  node.disabled = !token();
  if (node.disabled) node.title = "needs the operator's token";
  node.addEventListener("click", async () => {
    node.disabled = true;
    try { await act(); } catch (error) { problem(String(error)); }
    await refresh();
  });
  return node;
}

function wave(w, n) {
  const item = make("li");
  item.append(make("b", "", w.canary ? "canary" : "wave " + n));
  const bar = make("progress");
  bar.max = w.boards;
  bar.value = w.done;
  bar.setAttribute("aria-label", (w.canary ? "canary" : "wave " + n) + " done");
  item.append(bar);
  const parts = [w.done + " of " + w.boards + " done"];
  if (w.out) parts.push(w.out + " out or watched");
  if (w.failed) parts.push(w.failed + " failed");
  item.append(make("small", "", parts.join(", ")));
  return item;
}

function board(b, group, at) {
  const item = make("li", "board " + (STATES[b.state] ? b.state : ""));
  item.append(make("b", "", b.name));
  const since = b.since === null ? "" : ", since " + ago(at - b.since).replace(" ago", "");
  item.append(make("span", "state", (STATES[b.state] || b.state) + since));
  if (b.does) item.append(make("span", "", b.does));
  const facts = [b.version, b.slot && "slot " + b.slot, b.model].filter(Boolean);
  if (b.wave !== null) facts.push("wave " + b.wave);
  item.append(make("small", "", facts.join(" · ")), make("small", "", "heard " + ago(at - b.heard)));
  if (b.state === "failed") {
    item.append(button("Do not wait for it", "do not wait for " + b.name, () => say(group, "clear", { board: b.id })));
  }
  return item;
}

function draw(group, at) {
  const section = make("section", "group");
  const title = make("h2", "", group.name);
  title.id = "group-" + group.name;
  section.setAttribute("aria-labelledby", title.id);
  const head = make("div", "head");
  head.append(title);
  const windows = group.windows.length ? ", open " + group.windows.join("; ") + " UTC" : "";
  head.append(make("span", "what", group.out + " of " + count(group.slots, "slot", "slots") + " taken, "
    + count(group.boards.length, "board", "boards") + windows));
  const stopped = group.rollout && (group.rollout.stopped || ["refused"].includes(group.rollout.state));
  if (group.paused || stopped) {
    head.append(button("Resume", "resume " + group.name, () => say(group.name, "resume", {})));
  }
  if (!group.paused) {
    head.append(button("Pause", "pause " + group.name, () => say(group.name, "pause", { reason: "by hand" })));
  }
  section.append(head);
  if (group.paused) section.append(make("p", "note", "Paused by " + group.paused.by + ": " + group.paused.reason));
  if (group.rollout) {
    const r = group.rollout;
    section.append(make("h3", "", "Rollout " + r.run + (r.version ? " to " + r.version : "") + ": " + r.state));
    if (r.stopped) section.append(make("p", "note", "Stopped by itself: " + r.stopped));
    const waves = make("ol", "waves");
    r.waves.forEach((w, n) => waves.append(wave(w, n)));
    section.append(waves);
  }
  const list = make("ul", group.boards.length > 40 ? "boards many" : "boards");
  const sorted = [...group.boards].sort((a, b) => ORDER[a.state] - ORDER[b.state]
    || a.name.localeCompare(b.name, "en", { numeric: true }));
  for (const b of sorted) list.append(board(b, group.name, at));
  section.append(list);
  return section;
}

function show(state) {
  const boards = state.groups.flatMap((g) => g.boards);
  const bad = boards.filter((b) => ["failed", "ill", "silent"].includes(b.state)).length;
  document.title = (bad ? "(" + bad + "!) " : "") + "Fleet";
  $("live").textContent = count(boards.length, "board", "boards") + (bad ? ", " + bad + " need an eye" : ", all well");
  problem(state.trouble ? "The store cannot be used, nothing is decided: " + state.trouble : "");
  const focus = document.activeElement && document.activeElement.getAttribute("aria-label");
  $("groups").replaceChildren(...state.groups.map((g) => draw(g, state.at)));
  if (!state.groups.length) {
    $("groups").append(make("p", "", "No group yet: hypriot-fleet group set default --slots 1"));
  }
  // the button that was pressed by keyboard is a new one now
  if (focus) [...document.querySelectorAll("button")].find((n) => n.getAttribute("aria-label") === focus)?.focus();
  $("recent").replaceChildren(...state.recent.slice(0, 50).map((e) => {
    const item = make("li");
    const time = make("time", "", new Date(e.at * 1000).toISOString().replace("T", " ").slice(0, 19));
    time.dateTime = new Date(e.at * 1000).toISOString();
    item.append(time, make("span", "", e.group + ": " + e.text));
    return item;
  }));
}

async function refresh() {
  const response = await fetch("v1/state", { headers: headers() });
  if (response.status === 401) {
    $("operator").open = true;
    $("live").textContent = "reading is closed: give the token";
    return false;
  }
  if (!response.ok) throw new Error("the server answers " + response.status);
  show(await response.json());
  return true;
}

// EventSource cannot send the token: the stream is read by hand.
async function listen() {
  const response = await fetch("v1/events", { headers: headers() });
  if (!response.ok) throw new Error("the server answers " + response.status);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    if (text.includes("\n\n")) {
      const news = text.includes("event: news");
      text = text.slice(text.lastIndexOf("\n\n") + 2);
      if (news) await refresh();
    }
  }
}

async function run() {
  let wait = 1;
  for (;;) {
    try {
      if (await refresh()) {
        wait = 1;
        await listen();
      }
    } catch (error) {
      $("live").textContent = "no connection; what is shown is old (" + error.message + ")";
    }
    await new Promise((done) => setTimeout(done, wait * 1000));
    wait = Math.min(wait * 2, 30);
  }
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("token").value.trim());
  $("token").value = "";
  $("operator").open = false;
  refresh().catch((error) => problem(String(error)));
});
// ages go on although nothing happens
setInterval(() => refresh().catch(() => {}), 30000);
run();
