// The status page, with a real service and with states that a real service is rarely in.

import { KEYED, SERVICE, ask, assert, kill, onPage } from "./page.mjs";

const EVENTS = "**/api/engine/status/events";

async function openStatus(page) {
  await page.goto(`${SERVICE}/status`);
  await page.waitForSelector('#connection[data-state="live"]');
}

/** A service in a state of our making: the page gets these events and no others, again and again. */
async function pretend(page, status, history = []) {
  const worker = { name: "w.1", host: "mac-studio", slots: 32, running_total: 1, draining: false, heartbeat_age_ms: 400, restarts: 2,
    memory: { percent: 61, available_bytes: 1, mlx_bytes: 1 }, prompt_cache: { bytes: 3 << 20, entries: 2, prompt_tokens: 200, cached_tokens: 150 } };
  const whole = { now_ms: 1_700_000_300_000, queues: { chat: 7, batch: 0 }, queue_limit: 1000, suspended: false, silent_workers: [], running: [], running_total: 0, recent: [],
    batches: [], downloads: [], memory: [], ended: { stop: 5, "error:engine_failed": 2 }, models: [], workers: [worker], tail: [], ...status };
  const body = () => `event: history\ndata: ${JSON.stringify(history)}\n\nevent: status\ndata: ${JSON.stringify(whole)}\n\n`;
  await page.route(EVENTS, (route) => route.fulfill({ contentType: "text/event-stream", body: body() }));
  await page.goto(`${SERVICE}/status`);
  await page.waitForSelector("#sums > div");
}

const running = (more) => ({ job_id: "a".repeat(32), owner: "everyone", model_id: "m", model: "Qwen3-4B", tokens: 120, tokens_per_second: 48.2,
  ttft_ms: 210, elapsed_ms: 2700, worker: "w.1", ...more });

onPage("a chat that has ended is among the recent ones with its figures", async (page) => {
  await ask(page, "What is the opposite of hot?");
  await openStatus(page);
  // A worker tells of itself once a second, and so does the page: what it shows first may be from before.
  const shows = (id, words) => page.waitForFunction(([table, wanted]) => RegExp(wanted).test(document.querySelector(`#${table} tbody`).innerText), [id, words.source]);
  await shows("recent", /^(just now|\d+ m?s ago)\s+demo-chat\s+stop\s+\d+/);
  await shows("workers", /\d s ago\s+\d of 1\s/);
  await shows("models", /demo-chat\s+full\s+[\d.]+ [KM]iB/);
});

onPage("waiting chats are told by their class of service", async (page) => {
  await pretend(page, { waiting_by_tier: { priority: 2, default: 0, flex: 1205 }, queues: { chat: 1207, batch: 0 } });
  assert.match(await page.locator("#sums").innerText(), /Waiting\s+1,207\s+of 1,000 · 2 priority, 1,205 flex/);
});

onPage("charts say in words what they draw", async (page) => {
  await openStatus(page);
  await page.waitForFunction(() => document.querySelector(".chart .line").getAttribute("d"));
  const labels = await page.locator(".chart svg").evaluateAll((all) => all.map((one) => one.getAttribute("aria-label")));
  assert.equal(labels.length, 4);
  assert.match(labels[0], /^Tokens per second over the last five minutes: last [\d.,]+, highest [\d.,]+$/);
});

onPage("the page goes on by itself after the API was killed", async (page) => {
  await openStatus(page);
  const lost = page.locator('#connection[data-state="lost"]', { hasText: "Trying again" }).waitFor(); // it may soon be back
  await kill("api");
  await lost;
  await page.waitForSelector('#connection[data-state="live"]');
});

onPage("a running chat is stopped by its button, which keeps the focus while numbers change", async (page) => {
  const one = running();
  await pretend(page, { running: [one], running_total: 1 });
  const asked = page.waitForRequest("**/api/engine/chat/stop");
  const row = page.locator("#running tbody tr");
  assert.match(await row.innerText(), /Qwen3-4B\s+aaaaaaaa\s+120\s+48\s+210 ms\s+2.7 s\s+Stop/);
  await row.getByRole("button", { name: "Stop job aaaaaaaa" }).focus();
  one.tokens = 130;
  await row.getByText("130").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Stop");
  await page.keyboard.press("Enter");
  assert.deepEqual((await asked).postDataJSON(), { job_id: "a".repeat(32) });
  await page.waitForFunction(() => document.querySelector("#running button").disabled);
});

onPage("somebody else's chat has no button", async (page) => {
  await pretend(page, { running: [running({ owner: "somebody-else" })], running_total: 1 });
  assert.equal(await page.locator("#running tbody tr").count(), 1);
  assert.equal(await page.locator("#running button").count(), 0);
});

onPage("names that a model's folder may have are text and nothing else", async (page) => {
  const name = '<img src=x onerror="document.title=1">';
  await pretend(page, { running: [running({ model: name })], running_total: 1, models: [{ id: "m", name, bytes: 5, kv_quantization: 4, worker: "w.1" }] });
  assert.equal(await page.locator("#running td").first().innerText(), name);
  assert.equal(await page.locator("main img").count(), 0);
  assert.match(await page.locator("#models tbody").innerText(), /4 bits/);
});

onPage("sums, batches and a missing worker are told in words", async (page) => {
  const batch = { id: "b".repeat(32), owner: "everyone", status: "running", created_ms: 1, total: 1000, done: 240, failed: 10, model: "demo-chat" };
  await pretend(page, { batches: [batch], workers: [] });
  assert.match(await page.locator("#sums").innerText(), /Waiting\s+7 of 1,000[^]*Ended\s+7 2 failed/);
  assert.match(await page.locator("#batches tbody").innerText(), /bbbbbbbb\s+demo-chat\s+running\s+240 of 1,000\s+10/);
  assert.equal(await page.locator("#batches progress").evaluate((bar) => bar.value), 250);
  assert.match(await page.locator("#trouble").innerText(), /No worker is running/);
});

onPage("a time without a worker is a gap in the line", async (page) => {
  const row = (at, tokens) => ({ at, tokens_per_second: tokens, running: 1, waiting: 0, ttft_ms: null });
  const rows = [0, 2, 4, 60, 62].map((after) => row(1_700_000_100 + after, 10));
  await pretend(page, {}, rows);
  assert.equal((await page.locator(".chart .line").first().getAttribute("d")).split("M").length - 1, 2);
  assert.match(await page.locator(".chart svg").last().getAttribute("aria-label"), /nothing yet/);
});

for (const colorScheme of ["light", "dark"]) {
  onPage(`a phone shows it all without scrolling sideways (${colorScheme})`, async (page) => {
    const many = Array.from({ length: 12 }, (_, place) => running({ job_id: String(place).padStart(32, "0"), model: "mlx-community/Qwen3-4B-4bit" }));
    await pretend(page, { running: many, running_total: 12 });
    const [inside, outside] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(inside <= outside, `${inside} > ${outside}`);
  }, { viewport: { width: 360, height: 740 }, colorScheme });
}

onPage("downloads are shown with their speed and time left, and why one ended early", async (page) => {
  const one = { id: "d", name: "Model", repository: "someone/Model", size: 3 * 2 ** 30, downloading: true, download_progress: 42.7,
    download_speed: 31 * 2 ** 20, download_eta: 107, download_error: null };
  const failed = { ...one, id: "f", repository: "someone/Other", downloading: false, download_speed: null, download_eta: null, download_error: "The disk is full." };
  await pretend(page, { downloads: [one, failed], memory: [{ host: "mac", percent: 50, available_bytes: 8 * 2 ** 30, mlx_bytes: 1 }] });
  assert.match(await page.locator("#downloads tbody").innerText(), /someone\/Model\s+31 MiB\/s\s+2 min\s+3.0 GiB\s+someone\/Other\s+The disk is full./);
  assert.equal(await page.locator("#downloads progress").evaluate((bar) => bar.value), 42.7);
  assert.match(await page.locator("#sums").innerText(), /Model memory\s+0 B 8.0 GiB free/);
  assert.equal(await page.getByRole("link", { name: "Load, unload, download" }).getAttribute("href"), "/manage/models");
});

onPage("owners are shown where there are keys, and not where all is everyone's", async (page) => {
  await pretend(page, { running: [running()] });
  assert.ok(await page.locator("#running th", { hasText: "Owner" }).isHidden());
  await page.goto(`${KEYED}/login`);
  await page.getByLabel("API key").fill("ann-0123456789abcdef");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${KEYED}/`);
  const chat = { model_id: "demo-chat", messages: [{ role: "user", content: "Hello" }], max_tokens: 3 };
  await page.evaluate(async (body) => (await fetch("/api/engine/chat",
    { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).text(), chat);
  await page.unroute(EVENTS);
  await page.goto(`${KEYED}/status`);
  await page.locator("#recent tbody tr", { hasText: "ann" }).first().waitFor(); // the page is told once a second
  assert.match(await page.locator("#recent tbody").innerText(), /demo-chat\s+ann\s+(stop|length)/);
  assert.ok(await page.locator("#recent th", { hasText: "Owner" }).isVisible());
});
