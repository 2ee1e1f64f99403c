// A model's thinking: folded away above its answer, with its own text, and no part of what is sent on.

import { answers, assert, finished, last, onPage, reload, write } from "./page.mjs";

const TIMINGS = { queue_ms: 1, load_ms: 0, prefill_ms: 1, ttft_ms: 2, tokens_per_second: 9 };
const USAGE = { prompt_tokens: 5, completion_tokens: 9, cached_tokens: 0, reasoning_tokens: 5 };
const event = (id, frame) => `id: ${id}\ndata: ${JSON.stringify({ text: "", done: false, ...frame })}\n\n`;
const end = (id, fields = {}) => event(id, { done: true, finish_reason: "stop", usage: USAGE, timings: TIMINGS, ...fields });
const THOUGHT = "Cold is **the** opposite.";

/** Answer the next chat with these events; the body that was sent. */
async function answering(page, body, act) {
  const headers = { "X-Job-Id": "f".repeat(32) };
  await page.route("**/api/engine/chat", (route) => route.fulfill({ contentType: "text/event-stream", headers, body }), { times: 1 });
  const sent = page.waitForRequest("**/api/engine/chat");
  await act();
  return (await sent).postDataJSON();
}

const withEfforts = (efforts) => ({ opened: async (page) => {
  await page.route("**/models", async (route) => {
    const rows = await (await route.fetch()).json();
    await route.fulfill({ json: rows.map((row) => (row.name === "demo-chat" ? { ...row, reasoning_efforts: efforts } : row)) });
  });
  await page.goto(process.env.PAGE_URL);
  await page.waitForSelector("#model option[value]", { state: "attached" });
} });

onPage("thinking is folded away above the answer, and is no part of the next request", async (page) => {
  const body = await answering(page, event(2, { reasoning: THOUGHT }) + event(3, { text: "It is cold." }) + end(4), () => write(page, "What is the opposite of hot?"));
  assert.equal(body.include_reasoning, true);
  assert.equal(await finished(page), "It is cold.");
  const folded = last(page).locator("details.thinking");
  assert.match(await folded.locator("summary").innerText(), /^Thought for 1 s$/);
  assert.ok(!(await folded.locator("strong").isVisible()));
  await folded.locator("summary").click();
  assert.equal(await folded.locator("strong").innerText(), "the");
  const next = await answering(page, event(1, { text: "Small." }) + end(2), () => write(page, "And of big?"));
  assert.deepEqual(next.messages.map(({ role, content }) => [role, content]),
    [["user", "What is the opposite of hot?"], ["assistant", "It is cold."], ["user", "And of big?"]]);
  assert.equal(await finished(page), "Small.");
  assert.equal(await last(page).locator("details.thinking").isVisible(), false);
  await reload(page);
  assert.equal(await answers(page).first().locator("summary").innerText(), "Thought for 1 s");
});

onPage("while the model thinks the page says so; then its text has a mark at its end, and no word of waiting", async (page) => {
  await page.evaluate(() => {
    const ask = fetch;
    globalThis.fetch = (path, options) => {
      if (path !== "/api/engine/chat") return ask(path, options);
      const body = new ReadableStream({ start(controller) { globalThis.stream = controller; } });
      return Promise.resolve(new Response(body, { headers: { "X-Job-Id": "f".repeat(32) } }));
    };
  });
  const say = (text) => page.evaluate((piece) => globalThis.stream.enqueue(new TextEncoder().encode(piece)), text);
  await write(page, "What is the opposite of hot?");
  assert.equal(await last(page).locator(".waiting").innerText(), "Sending");
  await say(event(1, {}) + event(2, { reasoning: "Hm" }));
  await last(page).getByText("Thinking…", { exact: true }).waitFor(); // visible: its words are there before, hidden
  assert.ok(!(await last(page).locator(".waiting").isVisible()));
  await say(event(3, { text: "It is" }));
  await page.waitForFunction(() => /^Thought/.test(document.querySelector(".thinking summary").textContent));
  assert.ok(!(await last(page).locator(".waiting").isVisible()));
  const mark = () => page.evaluate(() => getComputedStyle(document.querySelector(".answer > .text > p"), "::after").content);
  assert.equal(await mark(), '""');
  await say(event(4, { text: " cold." }) + end(5));
  assert.equal(await finished(page), "It is cold."); // also while the stream is still open
  assert.equal(await mark(), "none");
  assert.ok(await page.locator("#send").isVisible());
  await page.evaluate(() => globalThis.stream.close());
});

onPage("a model that can switch its thinking has a switch, whose choice is sent", async (page) => {
  const effort = page.getByLabel("Thinking", { exact: true });
  assert.deepEqual(await effort.locator("option").allInnerTexts(), ["Thinking: auto", "Thinking: off", "Thinking: on"]);
  const plain = await answering(page, event(1, { text: "Cold." }) + end(2), () => write(page, "What is the opposite of hot?"));
  assert.ok(!("reasoning_effort" in plain));
  await finished(page);
  await effort.selectOption({ label: "Thinking: off" });
  const off = await answering(page, event(1, { text: "Cold." }) + end(2), () => write(page, "Again."));
  assert.equal(off.reasoning_effort, "none");
  await finished(page);
  await reload(page);
  assert.equal(await effort.inputValue(), "none");
  await page.selectOption("#model", { label: "demo-vision (sees images)" });
  assert.ok(!(await effort.isVisible()));
  const other = await answering(page, event(1, { text: "Cold." }) + end(2), () => write(page, "Again."));
  assert.ok(!("reasoning_effort" in other));
  await finished(page);
}, withEfforts(["none", "high"]));

onPage("a model that knows efforts offers them, one that doesn't has no such choice", async (page) => {
  const words = await page.getByLabel("Thinking", { exact: true }).locator("option").allInnerTexts();
  assert.deepEqual(words, ["auto", "off", "low", "medium", "high"].map((word) => `Thinking: ${word}`));
}, withEfforts(["none", "low", "medium", "high"]));

onPage("a real chat with a model that doesn't think shows no thinking", async (page) => {
  await write(page, "What is the opposite of hot?");
  assert.equal(await finished(page), "The opposite of hot is cold.");
  assert.ok(!(await page.locator("#effort").isVisible()));
  assert.ok(!(await last(page).locator("details.thinking").isVisible()));
});
