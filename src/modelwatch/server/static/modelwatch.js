"use strict";
/* Refreshes the parts of the page every two seconds, counts their age, and shows a value under the pointer. */
(() => {
  const EVERY = 2000, WHEN_HIDDEN = 15000, TIMEOUT = 5000, LOST_AFTER = 10000, LATE = 30;
  const address = document.body.dataset.refresh;
  const $ = id => document.getElementById(id);
  const pause = $("pause"), lost = $("lost"), words = $("lost-words"), again = $("again");
  const boxes = [...document.querySelectorAll("[data-part]")];
  const shown = new Map();
  let paused = false, good = Date.now(), problem = "", timer = 0, busy = false, told = 0;
  let age = NaN, since = Date.now(), pointer = null;

  const span = s => s >= 172800 ? `${Math.floor(s / 86400)}\u00a0d` : s >= 7200 ? `${Math.floor(s / 3600)}\u00a0h`
    : s >= 120 ? `${Math.floor(s / 60)}\u00a0min` : `${Math.max(1, Math.round(s))}\u00a0s`;

  /* -- age and the lost server ------------------------------------------- */
  function readAge() {
    const held = document.querySelector("[data-age]");
    age = held && held.dataset.age !== "" ? Number(held.dataset.age) : NaN;
    since = Date.now();
  }

  function tick() {
    const held = document.querySelector("[data-age]"), quiet = Date.now() - good;
    if (held && !Number.isNaN(age)) {
      const now = age + (Date.now() - since) / 1000;
      held.textContent = `${span(now)} ago`;
      held.classList.toggle("late", now > LATE);
    }
    const isLost = problem !== "" && quiet > LOST_AFTER;
    if (isLost && Date.now() - told > 5000) {
      told = Date.now();
      words.textContent = `Not refreshed for ${span(quiet / 1000)}: ${problem} The numbers below may be wrong now.`;
    }
    if (isLost === lost.hidden) { lost.hidden = !isLost; document.body.classList.toggle("offline", isLost); }
  }

  /* -- refresh: only texts and the insides of boxes change ----------------- */
  function inUse(box) {
    const picked = getSelection();
    return box.contains(document.activeElement) || box.querySelector("details[open]") !== null
      || (!picked.isCollapsed && box.contains(picked.anchorNode));
  }

  function put(parts) {
    if (Object.keys(parts).some(name => !boxes.some(box => box.dataset.part === name))) location.reload();
    for (const box of boxes) {
      const html = parts[box.dataset.part];
      if (html === undefined || html === shown.get(box) || inUse(box)) continue;
      shown.set(box, html);
      box.innerHTML = html;
    }
    const verdict = document.querySelector("[data-title]");
    if (verdict && document.title !== verdict.dataset.title) {
      document.title = verdict.dataset.title;
      $("tab-icon").href = verdict.dataset.icon;
    }
    readAge();
    point();
  }

  async function refresh() {
    if (busy) return;
    busy = true;
    clearTimeout(timer);
    const stop = new AbortController(), guard = setTimeout(() => stop.abort(), TIMEOUT);
    try {
      const answer = await fetch(address, { signal: stop.signal, headers: { accept: "application/json" }, cache: "no-store" });
      if (answer.status === 401) { location.reload(); return; }  // the session is over: sign in, and be here again
      const body = await answer.json();
      if (answer.ok) { good = Date.now(); problem = ""; put(body); }
      else problem = `the server answers, but cannot tell. ${body.error ? body.error.message : answer.status}`.replace(/[^.]$/, "$&.");
    } catch {
      problem = "the modelwatch server does not answer.";
    } finally {
      clearTimeout(guard);
      busy = false;
    }
    tick();
    plan();
  }

  function plan() {
    clearTimeout(timer);
    if (!paused) timer = setTimeout(refresh, document.hidden ? WHEN_HIDDEN : EVERY);
  }

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    document.body.classList.toggle("paused", paused);
    if (paused) clearTimeout(timer); else refresh();
  });
  again.addEventListener("click", refresh);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) refresh(); });
  document.addEventListener("keydown", e => {
    const menu = document.querySelector("details.models[open]");
    if (e.key === "Escape" && menu) { menu.open = false; menu.querySelector("summary").focus(); }
  });
  /* -- keys: g and a letter for a page, j and k for rows; never while somebody types --------------- */
  const PAGES = { h: "Health", q: "Quality", d: "Drift", r: "Resources", a: "Alerts", s: "SLOs", v: "Review", b: "Runbooks" };
  let going = 0;

  function rows() {
    const found = [...document.querySelectorAll("main article.alert, main .al li, main tbody tr")];
    return found.map(row => row.matches("article") ? row : row.querySelector("a")).filter(Boolean);
  }

  function move(step) {
    const all = rows(), here = document.activeElement?.closest("article.alert, .al li, tbody tr");
    const at = all.findIndex(one => here && here.contains(one));
    const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step))];
    if (!next) return;
    if (next.matches("article")) next.tabIndex = -1;
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }

  function alertHere(selector) {
    const here = document.activeElement?.closest("article.alert") ?? document.querySelector("article.alert");
    return here?.querySelector(selector);
  }

  const keys = {
    m() {
      const menu = document.querySelector("details.models");
      if (menu) { menu.open = true; (menu.querySelector("input") ?? menu.querySelector("li a")).focus(); }
    },
    j: () => move(1),
    k: () => move(-1),
    o: () => alertHere(".go a:last-child")?.click(),
    a: () => alertHere("form[action$=acknowledge] button")?.click(),
    x() {
      const ask = alertHere("details.silence");
      if (ask) { ask.open = true; ask.querySelector("select, input:not([type=hidden])").focus(); }
    },
    "?": () => help().showModal(),
    " ": () => pause.click(),
  };

  function help() {
    let box = document.querySelector("dialog.help");
    if (!box) {
      box = document.createElement("dialog");
      box.className = "help";
      box.setAttribute("aria-labelledby", "help-title");
      const told = [...Object.entries(PAGES).map(([key, page]) => [`g ${key}`, page]), ["m", "choose a model"],
        ["j  k", "next, previous row"], ["o", "runbook of an alert"], ["a", "acknowledge it"], ["x", "silence it"],
        ["Space", "pause and go on"], ["?", "this help"]];
      const title = document.createElement("h2"), list = document.createElement("div"), close = document.createElement("button");
      title.id = "help-title"; title.textContent = "Keyboard"; list.className = "cols";
      for (const [key, words] of told) {
        const line = document.createElement("div"), cap = document.createElement("span"), text = document.createElement("span");
        for (const one of key.split(/ +/)) cap.append(Object.assign(document.createElement("kbd"), { textContent: one }), " ");
        text.textContent = words;
        line.append(cap, text);
        list.append(line);
      }
      close.className = "btn"; close.type = "button"; close.textContent = "Close";
      close.addEventListener("click", () => box.close());
      box.append(title, list, close);
      document.body.append(box);
    }
    return box;
  }

  document.addEventListener("keydown", e => {
    const typing = e.target.closest?.("input, select, textarea, [contenteditable]");
    if (typing || e.ctrlKey || e.altKey || e.metaKey || e.isComposing || document.querySelector("dialog[open]")) return;
    const held = e.target.closest?.("button, summary, a, .scroll");
    if (e.key === " " && held && !held.closest("dialog")) return;  // one in a dialog that has just closed may still have the focus
    if (Date.now() - going < 1500 && e.key in PAGES) {
      going = 0;
      const tab = [...document.querySelectorAll(".tabs a")].find(one => one.firstChild.textContent.trim() === PAGES[e.key]);
      e.preventDefault();
      e.stopImmediatePropagation();
      tab?.click();
    } else if (e.key === "g") {
      going = Date.now();
    } else if (Object.hasOwn(keys, e.key)) {
      e.preventDefault();
      keys[e.key]();
    }
  }, true);

  document.addEventListener("input", e => {
    if (e.target.id !== "find") return;
    const wanted = e.target.value.trim().toLowerCase();
    for (const line of document.querySelectorAll(".drop li")) {
      line.hidden = !line.querySelector(".model").textContent.toLowerCase().includes(wanted);
    }
  });

  document.addEventListener("click", e => {
    const menu = document.querySelector("details.models[open]");
    if (menu && !menu.contains(e.target)) menu.open = false;
  });

  /* -- the value under the pointer ---------------------------------------- */
  const tip = document.createElement("div"), cross = document.createElement("div");
  tip.className = "tip"; cross.className = "cross"; tip.hidden = cross.hidden = true;
  document.body.append(cross, tip);

  function point() {
    const chart = pointer && document.elementFromPoint(pointer.x, pointer.y)?.closest("svg.chart[data-t]");
    tip.hidden = cross.hidden = !chart || chart.dataset.x === "";
    if (tip.hidden) return;
    const box = chart.getBoundingClientRect(), style = getComputedStyle(chart);
    const left = box.left + parseFloat(style.paddingLeft);
    const wide = box.width - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const places = chart.dataset.x.split(" ").map(Number), at = (pointer.x - left) / wide * 100;
    const i = places.reduce((best, x, j) => Math.abs(x - at) < Math.abs(places[best] - at) ? j : best, 0);
    const x = left + places[i] / 100 * wide;
    tip.textContent = chart.dataset.t.split("|")[i];
    cross.style.transform = `translate(${x + scrollX}px, ${box.top + scrollY + 8}px)`;
    cross.style.height = `${box.height - 28}px`;
    const half = tip.offsetWidth / 2, middle = Math.min(Math.max(x, half + 4), document.documentElement.clientWidth - half - 4);
    tip.style.transform = `translate(${middle - half + scrollX}px, ${box.top + scrollY - 20}px)`;
  }
  document.addEventListener("pointermove", e => { pointer = { x: e.clientX, y: e.clientY }; point(); }, { passive: true });
  document.addEventListener("pointerleave", () => { pointer = null; point(); });
  addEventListener("scroll", point, { passive: true });

  document.documentElement.classList.add("scripts");
  document.querySelector(".tabs [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
  readAge();
  setInterval(tick, 1000);
  plan();
})();
