"use strict";
/* The review without reloading: a key presses its button, a form goes to the API, and the next sample is put in place. */
(() => {
  const IDLE_EVERY = 5000;
  const $ = part => document.querySelector(`[data-part="${part}"]`);
  const address = document.body.dataset.refresh;
  let busy = false;

  async function look(said) {
    const more = `${address.includes("?") ? "&" : "?"}item=1&said=${encodeURIComponent(said)}`;
    const answer = await fetch(address + more, { headers: { accept: "application/json" }, cache: "no-store" });
    const parts = await answer.json();
    if (!answer.ok || parts.item === undefined) location.reload(); else put(parts);
  }

  function put(parts) {
    const inside = $("item").contains(document.activeElement);
    for (const part of ["item", "why"]) $(part).innerHTML = parts[part];
    const truth = $("item").querySelector("#truth");
    if (truth) truth.focus(); else if (inside) $("item").querySelector(".sample, button")?.focus();
    speak();
  }

  function speak() {  // the box of the words is replaced with the sample, so another one tells them to who listens
    const said = $("item").querySelector("[data-status]"), text = $("item").querySelector(".sample");
    document.getElementById("spoken").textContent = `${said ? said.textContent : ""} ${text ? text.textContent : ""}`;
  }

  function tell(words) {
    const box = $("item").querySelector("[data-status]");
    if (box) { box.textContent = words; box.className = "s-warn st"; }
    document.getElementById("spoken").textContent = words;
  }

  async function send(form, button) {
    if (busy) return;
    busy = true;
    const fields = Object.fromEntries(new FormData(form, button));
    const to = new URL(button?.hasAttribute("formaction") ? button.formAction : form.action);
    to.pathname = to.pathname.replace(/\/review\/(\w+)$/, "/api/review/$1");
    try {
      const answer = await fetch(to, {
        method: "POST", headers: { "content-type": "application/json", accept: "application/json" },
        body: JSON.stringify({ ...fields, next: "page" }), cache: "no-store",
      });
      const body = await answer.json();
      if (answer.ok && body.next) put(body.next);
      else if (answer.ok) await look(body.state);
      else if (answer.status === 401 || answer.status === 403) location.reload();
      else tell(`Not saved: ${body.error.message}`);
    } catch {
      tell("Not saved: the server does not answer. Try again; doing it twice does no harm.");
    } finally {
      busy = false;
    }
  }

  document.addEventListener("submit", e => {
    if (!e.target.matches("form[data-review]")) return;
    e.preventDefault();
    send(e.target, e.submitter);
  });

  document.addEventListener("keydown", e => {
    const typing = e.target.matches("input, textarea, select");
    if (e.key === "Escape" && typing) e.target.blur();
    if (e.repeat || e.ctrlKey || e.metaKey || e.altKey || typing) return;
    const found = [...$("item").querySelectorAll("[data-key]")].find(one => one.dataset.key === e.key.toLowerCase());
    if (!found) return;
    e.preventDefault();
    if (found.matches("button")) found.click(); else found.focus();
  });

  setInterval(() => {
    if (document.querySelector("[data-idle]") && !busy && !document.hidden) look("").catch(() => {});
  }, IDLE_EVERY);
})();
