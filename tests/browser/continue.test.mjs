// An answer that was cut goes on in its own words, in the same message.

import { HUNDRED, answers, assert, finished, inTheMiddle, last, onPage, reload, textOf, write } from "./page.mjs";

const again = (page) => last(page).getByRole("button", { name: "Continue the answer" });
const stored = (page) => page.evaluate(async () => {
  const [{ name }] = await indexedDB.databases();
  const database = await new Promise((resolve) => {
    const request = indexedDB.open(name);
    request.onsuccess = () => resolve(request.result);
  });
  const all = database.transaction("conversations").objectStore("conversations").getAll();
  return new Promise((resolve) => { all.onsuccess = () => resolve(all.result); });
});

async function limit(page, tokens) {
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Max tokens").fill(String(tokens));
  await page.getByRole("button", { name: "Done" }).click();
}

onPage("an answer at its limit of tokens goes on to its end, and is one message", async (page) => {
  await limit(page, 9);
  await write(page, "Count to a hundred.");
  const cut = await finished(page);
  assert.ok(HUNDRED.startsWith(cut) && cut.length < HUNDRED.length, cut);
  await limit(page, 512);
  const sent = page.waitForRequest("**/api/engine/chat");
  await again(page).click();
  const { messages, max_tokens: most } = (await sent).postDataJSON();
  assert.deepEqual(messages.map(({ role }) => role), ["user", "assistant"]);
  assert.equal(messages.at(-1).content.trimEnd(), cut);
  assert.equal(most, 512);
  assert.equal(await finished(page), HUNDRED);
  assert.equal(await again(page).count(), 0);
  assert.equal(await answers(page).count(), 1);
  const [, tokens] = /· ([\d,]+) tokens ·/.exec(await last(page).locator(".facts").innerText());
  assert.ok(Number(tokens.replace(",", "")) > 100, tokens);
  await reload(page);
  assert.equal(await textOf(page), HUNDRED);
  const [conversation] = await stored(page);
  assert.deepEqual(conversation.messages.map(({ role, text }) => [role, text.trim()]),
    [["user", "Count to a hundred."], ["assistant", HUNDRED]]);
});

onPage("a stopped answer goes on, also over a reload while it does", async (page) => {
  await inTheMiddle(page, () => Promise.all([page.waitForResponse("**/api/engine/chat/stop"), page.keyboard.press("Escape")]));
  const cut = await finished(page);
  assert.ok(HUNDRED.startsWith(cut) && cut.length < HUNDRED.length, cut);
  await inTheMiddle(page, async () => {
    await page.waitForFunction((shown) => document.querySelector(".answer .text").textContent.trim().length > shown, cut.length);
    await reload(page);
  }, () => again(page).click());
  assert.equal(await finished(page), HUNDRED);
  assert.equal(await answers(page).count(), 1);
});

onPage("thinking that was cut is sent as thinking, and goes on in it", async (page) => {
  const timings = { queue_ms: 1, load_ms: 0, prefill_ms: 1, ttft_ms: 2, tokens_per_second: 9 };
  const usage = { prompt_tokens: 5, completion_tokens: 2, cached_tokens: 0, reasoning_tokens: 2 };
  const event = (id, fields) => `id: ${id}\ndata: ${JSON.stringify({ text: "", done: false, ...fields })}\n\n`;
  const answer = (fields, finish) => page.route("**/api/engine/chat", (route) => route.fulfill({
    status: 200, contentType: "text/event-stream", headers: { "X-Job-Id": "f".repeat(32) },
    body: event(2, fields) + event(3, { done: true, finish_reason: finish, usage, timings }),
  }), { times: 1 });
  const goOn = async (fields, finish) => {
    await answer(fields, finish);
    await again(page).click();
    await finished(page);
  };
  const thought = async () => {
    const folded = last(page).locator("details.thinking");
    await folded.locator("summary").click();
    return (await folded.locator(".text").innerText()).trim();
  };
  await answer({ reasoning: "Hm, let" }, "length");
  await write(page, "What is the opposite of hot?");
  assert.equal(await finished(page), "");
  assert.equal(await thought(), "Hm, let");
  const bodies = [];
  page.on("request", (request) => request.url().endsWith("/api/engine/chat") && bodies.push(request.postDataJSON()));
  await goOn({ reasoning: " me see" }, "length");
  assert.equal(await thought(), "Hm, let me see");
  await goOn({ reasoning: ".", text: "Cold" }, "length");
  assert.equal(await textOf(page), "Cold");
  await goOn({ text: "." }, "stop");
  assert.equal(await textOf(page), "Cold.");
  assert.equal(await answers(page).count(), 1);
  assert.deepEqual(bodies.map(({ messages }) => messages.at(-1)), [
    { role: "assistant", content: "", reasoning: "Hm, let" },
    { role: "assistant", content: "", reasoning: "Hm, let me see" },
    { role: "assistant", content: "Cold", reasoning: "Hm, let me see." },
  ]);
});
