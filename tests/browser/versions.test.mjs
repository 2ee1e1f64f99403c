// Versions of messages: editing and asking again keep what was there; stored conversations of the page before are read.

import { SERVICE, answers, ask, assert, finished, last, onPage, reload, textOf, write } from "./page.mjs";

const versionsOf = (message) => message.locator(".versions");
const count = (message) => versionsOf(message).innerText();
const back = (message) => message.getByRole("button", { name: "Version before" });
const next = (message) => message.getByRole("button", { name: "Next version" });

async function edit(page, message, text) {
  await message.hover();
  await message.getByRole("button", { name: "Edit and send again" }).click();
  await page.getByLabel("Edit the message").fill(text);
  await page.keyboard.press("Enter");
  return finished(page);
}

onPage("an answer that is asked for again is another version, and the first is a click away", async (page) => {
  await ask(page, "Tell me a joke.");
  await ask(page, "What is the opposite of hot?");
  assert.equal(await versionsOf(last(page)).isVisible(), false);
  await last(page).getByRole("button", { name: "Answer again" }).click();
  assert.equal(await finished(page), "The opposite of hot is cold.");
  assert.equal(await count(last(page)), "2/2");
  assert.ok(await next(last(page)).isDisabled());
  let goOn;
  const held = new Promise((resolve) => { goOn = resolve; });
  await page.route("**/api/engine/chat", (route) => held.then(() => route.continue()), { times: 1 });
  await write(page, "Tell me a joke.");
  const second = answers(page).nth(1), user = page.locator(".user").first();
  const asking = [back(second), second.getByRole("button", { name: "Answer again" }), user.getByRole("button", { name: "Edit and send again" })];
  for (const button of asking)
    assert.deepEqual([await button.isDisabled(), await button.getAttribute("title")], [true, "Not while an answer is running: wait for its end, or stop it"]);
  goOn();
  await finished(page);
  for (const button of asking) assert.ok(await button.isEnabled());
  assert.equal(await back(second).getAttribute("title"), "Version before");
  await back(second).click();
  assert.equal(await count(last(page)), "1/2");
  assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), "Next version");
  await reload(page);
  assert.equal(await count(last(page)), "1/2");
  assert.equal(await answers(page).count(), 2);
});

onPage("an edited message begins a branch; the other keeps all that followed it", async (page) => {
  await ask(page, "What is the opposite of hot?");
  await ask(page, "Tell me a joke.");
  const first = page.locator(".user").first();
  assert.match(await edit(page, first, "What is the opposite of big?"), /small/);
  assert.equal(await answers(page).count(), 1);
  assert.equal(await count(first), "2/2");
  await back(first).click();
  assert.equal(await answers(page).count(), 2);
  assert.deepEqual(await page.locator(".bubble").allInnerTexts(), ["What is the opposite of hot?", "Tell me a joke."]);
  const sent = page.waitForRequest("**/api/engine/chat");
  await ask(page, "Hello!");
  const words = (await sent).postDataJSON().messages.filter(({ role }) => role === "user").map(({ content }) => content);
  assert.deepEqual(words, ["What is the opposite of hot?", "Tell me a joke.", "Hello!"]);
  await next(first).click();
  assert.equal(await answers(page).count(), 1);
  assert.match(await textOf(page), /small/);
});

onPage("a deleted conversation comes back with all its versions", async (page) => {
  await ask(page, "What is the opposite of hot?");
  await edit(page, page.locator(".user").first(), "What is the opposite of big?");
  await page.locator("#conversations li").hover();
  await page.getByRole("button", { name: /^Delete/ }).click();
  assert.equal(await answers(page).count(), 0);
  await page.getByRole("button", { name: "Undo" }).click();
  await page.locator("#conversations .open").click();
  assert.equal(await count(page.locator(".user").first()), "2/2");
});

const OLD_SETTINGS = { model: "gone", temperature: 0.7, maxTokens: 512, system: "Be brief.", seed: null };
const oldAnswer = (id, text, more = {}) => ({ id, role: "assistant", text, state: "done", settings: OLD_SETTINGS, key: id, jobId: null, cursor: 3,
  warnings: ["A warning."], error: null, finish: "stop", usage: null, timings: null, said: "", saidTokens: 0, thought: false, ...more });
const OLD = { id: "a".repeat(32), title: "From before", created: 1, updated: 2, settings: OLD_SETTINGS, messages: [
  { id: "1", role: "user", text: "One", images: ["picture"] }, oldAnswer("2", "First answer."),
  { id: "3", role: "user", text: "Two", images: [] }, oldAnswer("4", "Hm, let me", { thought: true, finish: "length" }),
] };

onPage("conversations that the page before stored are shown whole, and go on", async (page) => {
  await page.evaluate(async (old) => {
    const database = await new Promise((resolve) => {
      const request = indexedDB.open("mlxq-chat", 1);
      request.onupgradeneeded = () => ["conversations", "images"].forEach((name) => request.result.objectStoreNames.contains(name) || request.result.createObjectStore(name, { keyPath: "id" }));
      request.onsuccess = () => resolve(request.result);
    });
    const canvas = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const writing = database.transaction(["conversations", "images"], "readwrite");
    writing.objectStore("conversations").put(old);
    writing.objectStore("images").put({ id: "picture", blob, width: 1, height: 1 });
    await new Promise((resolve) => { writing.oncomplete = resolve; });
    database.close();
  }, OLD);
  await page.goto("about:blank"); // or only the part behind the # would change
  await page.goto(`${SERVICE}/#${OLD.id}`);
  await page.waitForSelector("#model option[value]", { state: "attached" });
  assert.deepEqual(await page.locator(".bubble").allInnerTexts(), ["One", "Two"]);
  assert.equal(await answers(page).first().locator("> .text").innerText(), "First answer.");
  assert.equal(await page.locator(".notice.warning").count(), 2);
  await page.waitForFunction(() => document.querySelector(".pictures img")?.src);
  await last(page).locator("details.thinking summary").click();
  assert.equal((await last(page).locator(".thinking .text").innerText()).trim(), "Hm, let me");
  assert.match(await last(page).locator(".facts").innerText(), /Stopped at the token limit/);
  assert.match(await page.locator("#system-set").innerText(), /Be brief\./);
  await last(page).getByRole("button", { name: "Answer again" }).click();
  assert.notEqual(await finished(page), "");
  assert.equal(await count(last(page)), "2/2");
  await reload(page);
  await back(last(page)).click();
  await last(page).locator("details.thinking summary").click();
  assert.equal((await last(page).locator(".thinking .text").innerText()).trim(), "Hm, let me");
});
