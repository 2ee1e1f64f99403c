// The list of conversations: search, dates, pins; drafts and notices; export and import.

import { readFile } from "node:fs/promises";

import { answers, ask, assert, finished, last, onPage, open, reload, saved, textOf, write } from "./page.mjs";

const DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";

const rows = (page) => page.locator("#conversations li");
const titles = (page) => page.locator("#conversations .open").allInnerTexts();
const sections = (page) => page.locator("#conversations h2").allInnerTexts();
const fresh = (page) => page.getByRole("button", { name: "New chat" }).click();

/** Put a conversation's last use some days back, as if it had been stored then. */
const age = (page, title, days) => page.evaluate(async ([wanted, back]) => {
  const database = await new Promise((resolve) => {
    const request = indexedDB.open("mlxq-chat");
    request.onsuccess = () => resolve(request.result);
  });
  const store = database.transaction("conversations", "readwrite").objectStore("conversations");
  const all = await new Promise((resolve) => { const asked = store.getAll(); asked.onsuccess = () => resolve(asked.result); });
  const one = all.find((conversation) => conversation.title === wanted);
  one.updated -= back * 24 * 3600 * 1000;
  await new Promise((resolve) => { store.put(one).transaction.oncomplete = resolve; });
  database.close();
}, [title, days]);

onPage("conversations are found by the words in them, stand below their date, and can be pinned", async (page) => {
  await ask(page, "What is the opposite of hot?");
  await fresh(page);
  await ask(page, "Tell me a joke.");
  await age(page, "What is the opposite of hot?", 1);
  await age(page, "Tell me a joke.", 3);
  await page.goto("about:blank");
  await open(page);
  assert.deepEqual(await sections(page), ["Yesterday", "Previous 7 days"]);
  await page.keyboard.press("Alt+KeyF");
  await page.keyboard.type("COLD opposite");
  assert.deepEqual(await titles(page), ["What is the opposite of hot?"]);
  assert.equal(await page.locator("#found").innerText(), "1 of 2 conversations");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  assert.equal(await textOf(page), "The opposite of hot is cold.");
  await page.getByLabel("Search the conversations").fill("elephant");
  assert.equal(await page.locator("#found").innerText(), "No conversation has these words.");
  await page.keyboard.press("Escape");
  assert.equal(await rows(page).count(), 2);
  await rows(page).last().hover();
  await page.getByRole("button", { name: "Pin Tell me a joke." }).click();
  assert.deepEqual(await sections(page), ["Pinned", "Yesterday"]);
  await saved(page);
  await page.reload();
  await rows(page).first().waitFor();
  assert.deepEqual(await titles(page), ["Tell me a joke.", "What is the opposite of hot?"]);
  assert.equal(await page.getByRole("button", { name: "Pin Tell me a joke." }).getAttribute("aria-pressed"), "true");
});

onPage("what was begun and not sent stays with its conversation, and so does a notice", async (page) => {
  await ask(page, "Tell me a joke.");
  await page.fill("#message", "And another");
  await page.setInputFiles("#files", { name: "x.bin", mimeType: "application/octet-stream", buffer: Buffer.from([0, 1, 2, 255]) });
  await page.waitForSelector("#problem:not([hidden])");
  await page.setInputFiles("#files", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("A note.") });
  await page.getByRole("button", { name: "Remove notes.txt" }).waitFor();
  await page.setInputFiles("#files", { name: "dot.png", mimeType: "image/png", buffer: Buffer.from(DOT, "base64") });
  await page.getByRole("button", { name: "Remove dot.png" }).waitFor();
  await fresh(page);
  assert.equal(await page.locator("#message").inputValue(), "");
  assert.ok(!(await page.locator("#problem").isVisible()));
  assert.ok(!(await page.locator("#attachments").isVisible()));
  await page.fill("#message", "Something new");
  await rows(page).first().locator(".open").click();
  assert.equal(await page.locator("#message").inputValue(), "And another");
  assert.equal(await page.locator("#problem").innerText(), "x.bin is neither an image nor a text file in UTF-8.");
  assert.ok(await page.getByRole("button", { name: "Remove notes.txt" }).isVisible());
  await reload(page);
  assert.equal(await page.locator("#message").inputValue(), "And another");
  assert.match(await page.locator("#attachments").innerText(), /notes\.txt\s*7 bytes/);
  await page.waitForFunction(() => document.querySelector("#attachments img")?.naturalWidth === 1);
  await page.getByRole("button", { name: "Remove dot.png" }).click();
  await fresh(page);
  assert.equal(await page.locator("#message").inputValue(), "Something new");
  await page.press("#message", "Enter");
  await finished(page);
  await fresh(page);
  assert.equal(await page.locator("#message").inputValue(), "");
  await rows(page).last().locator(".open").click();
  const sent = page.waitForRequest("**/api/engine/chat");
  await page.press("#message", "Enter");
  assert.equal((await sent).postDataJSON().messages.at(-1).content, "File notes.txt:\n```txt\nA note.\n```\n\nAnd another");
  await finished(page);
  assert.ok(!(await page.locator("#attachments").isVisible()));
});

onPage("a draft's files that the browser can't keep are told of, and stay as long as the page", async (page) => {
  await page.evaluate(() => {
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function full(record) {
      if (this.name === "attached") this.transaction.abort();
      return put.call(this, record);
    };
  });
  await page.setInputFiles("#files", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("A note.") });
  await page.waitForFunction(() => document.getElementById("problem").textContent ===
    "This browser has no room to keep the attached files: they are gone when this page is closed.");
  assert.ok(await page.getByRole("button", { name: "Remove notes.txt" }).isVisible());
});

async function exported(page, button) {
  const downloading = page.waitForEvent("download");
  await page.getByRole("button", { name: button, exact: true }).click();
  const download = await downloading;
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), "utf8") };
}

const importing = (page, text) => page.setInputFiles("#import-file", { name: "x.json", mimeType: "application/json", buffer: Buffer.from(text) });

onPage("conversations leave as JSON and Markdown, and come back from JSON with their versions", async (page) => {
  await ask(page, "What is the opposite of hot?");
  await last(page).getByRole("button", { name: "Answer again" }).click();
  await finished(page);
  await page.getByRole("button", { name: "Export or import" }).click();
  const markdown = await exported(page, "Markdown");
  assert.equal(markdown.name, "What-is-the-opposite-of-hot.md");
  assert.equal(markdown.text, "# What is the opposite of hot?\n\n## You\n\nWhat is the opposite of hot?\n\n" +
    "## Answer by demo-chat\n\nThe opposite of hot is cold.\n");
  const one = await exported(page, "JSON");
  assert.equal(one.name, "What-is-the-opposite-of-hot.json");
  const all = await exported(page, "JSON of all");
  assert.equal(JSON.parse(all.text).conversations.length, 1);
  await importing(page, one.text);
  await page.waitForFunction(() => document.getElementById("transfer-said").textContent === "1 conversation was imported.");
  await page.getByRole("button", { name: "Close" }).click();
  assert.deepEqual(await titles(page), Array(2).fill("What is the opposite of hot?"));
  for (const row of await rows(page).all()) {
    await row.locator(".open").click();
    assert.equal(await last(page).locator(".versions").innerText(), "2/2");
  }
  await reload(page);
  assert.equal(await rows(page).count(), 2);
  await ask(page, "Tell me a joke.");
  assert.equal(await answers(page).count(), 2);
});

onPage("an imported copy is a conversation of its own, with its images", async (page) => {
  const drawn = await page.evaluate(() => document.createElement("canvas").toDataURL("image/png").split(",")[1]);
  await page.setInputFiles("#files", { name: "x.png", mimeType: "image/png", buffer: Buffer.from(drawn, "base64") });
  await page.waitForSelector("#attachments img");
  await ask(page, "Hello!");
  await page.getByRole("button", { name: "Export or import" }).click();
  const { text } = await exported(page, "JSON");
  await importing(page, text);
  await page.waitForFunction(() => document.getElementById("transfer-said").textContent === "1 conversation was imported.");
  await page.getByRole("button", { name: "Close" }).click();
  await ask(page, "Tell me a joke.");
  await rows(page).last().locator(".open").click();
  assert.equal(await answers(page).count(), 1);
  await rows(page).first().hover();
  await rows(page).first().getByRole("button", { name: /^Delete/ }).click();
  await page.locator(".toast").waitFor({ state: "detached" });
  await saved(page);
  await page.reload();
  await page.waitForFunction(() => document.querySelector(".pictures img")?.naturalWidth > 0);
});

onPage("a file that is none is refused in words, and nothing in one can run", async (page) => {
  await page.getByRole("button", { name: "Export or import" }).click();
  const said = async (text, words) => {
    await importing(page, text);
    await page.waitForFunction((wanted) => document.getElementById("transfer-said").textContent === wanted, words);
  };
  const kind = "mlx-chat-queue conversations";
  await said("{", "This is not a JSON file.");
  await said("[]", "This is not a file of conversations that was exported here.");
  await said(JSON.stringify({ kind, format: 99, conversations: [] }), "This file was exported by a newer version of this page.");
  for (const broken of [{}, { id: "1", title: 1, messages: [] }, { id: "1", title: "x", messages: [{ id: "1", role: "system", text: "x" }] }, null])
    await said(JSON.stringify({ kind, format: 2, conversations: [broken] }), "This file of conversations is damaged.");
  const hostile = "<img src=x onerror=globalThis.ran=1>";
  const answer = { id: "b", parent: "a", role: "assistant", text: hostile, reasoning: hostile, state: "running", jobId: "../../status", settings: { model: {}, system: 3, stop: "x" },
    warnings: [hostile], error: { code: "x", words: hostile }, usage: { completion_tokens: hostile }, timings: [] };
  const conversation = { id: "c".repeat(32), format: 2, title: hostile, updated: "now", chosen: { "": 5 }, messages: [
    { id: "a", role: "user", text: hostile, images: ["p"], files: [{ name: hostile, text: hostile }, 7], parent: null }, answer,
    { id: "z", role: "user", text: "nowhere", parent: "y" }] };
  await said(JSON.stringify({ kind, format: 2, conversations: [conversation], images: { p: "data:image/svg+xml;base64,PHN2Zz4=" } }), "1 conversation was imported.");
  await page.getByRole("button", { name: "Close" }).click();
  await rows(page).first().locator(".open").click();
  assert.equal((await textOf(page)), hostile);
  await last(page).locator(".thinking summary").click();
  await page.locator(".file summary").click();
  await page.waitForFunction(() => document.querySelector(".file pre").textContent !== "");
  assert.equal(await page.locator(".file pre").innerText(), hostile);
  assert.equal(await page.locator("#thread img, #conversations img").count(), 0);
  assert.equal(await page.evaluate(() => globalThis.ran), undefined);
  assert.match(await last(page).locator(".facts").innerText(), /Stopped/);
  await write(page, "What is the opposite of hot?");
  assert.equal(await finished(page), "The opposite of hot is cold.");
});
