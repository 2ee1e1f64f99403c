// The models page: on a real service what it has, and with prepared answers what takes a hub, hours or another machine.

import { KEYED, SERVICE, assert, onPage } from "./page.mjs";

const PAGE = "/manage/models", MODELS = "**/api/engine/models", EVENTS = "**/api/engine/status/events";
const GIB = 2 ** 30;
const opened = (page) => page.goto(SERVICE + PAGE);
const row = (page, name) => page.locator("#list > li").filter({ has: page.locator(".name > span", { hasText: new RegExp(`^${name}$`) }) });

const model = (more) => ({ id: "m", name: "Model", path: "/models/m", local_path: "/models/m", repository: null, size: 3 * GIB, architecture: "qwen3",
  context_window: 40960, is_vision: false, takes_tools: false, sampling_defaults: {}, downloaded: true, downloading: false, download_progress: 100,
  download_speed: null, download_eta: null, download_error: null, deletable: false, loaded: false, load_progress: null, pinned: false,
  kv_quantization: null, ...more });
const fetching = (more) => model({ downloaded: false, downloading: true, local_path: null, deletable: true, repository: "someone/Model", download_progress: 42.7,
  download_speed: 31 * 2 ** 20, download_eta: 107, ...more });

/** Until no model is loaded: chats of earlier tests may still hold one. */
async function unloaded() {
  for (;;) {
    const answer = await fetch(`${SERVICE}/api/engine/models/unload`, { method: "POST" });
    if (answer.ok) return;
    assert.equal(answer.status, 409);
    await new Promise((resolve) => { setTimeout(resolve, 500); });
  }
}

/** Press Enter on a button that is enabled, or soon will be. */
async function enter(button) {
  await button.click({ trial: true });
  await button.press("Enter");
}

/** The page with these models on a machine of so much memory; returns a list that may be changed. */
async function pretend(page, list, { percent = 50, available = 8 * GIB, loaded = [] } = {}) {
  const shown = { list };
  const status = { workers: [{ name: "w.1", host: "mac" }], models: loaded, memory: [{ host: "mac", percent, available_bytes: available, mlx_bytes: 0 }] };
  await page.route(EVENTS, (route) => route.fulfill({ contentType: "text/event-stream", body: `retry: 200\nevent: status\ndata: ${JSON.stringify(status)}\n\n` }));
  await page.route(MODELS, (route) => route.fulfill({ json: shown.list }));
  await page.goto(SERVICE + PAGE);
  await page.locator("#list > li").first().waitFor();
  return shown;
}

/** Answer a command and keep what was sent; `done` is called before the answer. */
async function command(page, path, answer, status = 200, done = () => {}) {
  const sent = [];
  await page.route(`${MODELS}/${path}`, async (route) => {
    sent.push(route.request().postDataJSON());
    done();
    await route.fulfill({ status, json: answer });
  });
  return sent;
}

onPage("a loaded model says when it is unloaded", async (page) => {
  const shown = { pinned: { pinned: true, ttl: null }, idle: { ttl: 600, unloads_in_s: 64.2 }, used: { ttl: 600 }, free: { ttl: -1 }, quiet: {} };
  await pretend(page, Object.entries(shown).map(([name, more]) => model({ id: name, name, loaded: true, ttl: null, unloads_in_s: null, ...more })));
  const facts = await page.locator("#list > li .facts").allInnerTexts();
  assert.deepEqual(facts.map((text) => text.split(" · ").filter((part) => part.includes("unloaded")).join()),
    ["never unloaded", "unloaded in 65 s", "unloaded 10 min after its last use", "unloaded when its memory is needed", ""]);
});

onPage("a model is loaded, loaded again with another cache, and unloaded by the keyboard", async (page) => {
  const chat = row(page, "demo-chat");
  await chat.getByRole("button", { name: "Load demo-chat", exact: true }).waitFor();
  assert.match(await chat.innerText(), /\d MiB · context of 4,096 tokens · qwen3/);
  await chat.getByRole("combobox").selectOption("8");
  await enter(chat.getByRole("button", { name: "Load demo-chat", exact: true }));
  await chat.getByText("8-bit cache").waitFor();
  const reload = chat.getByRole("button", { name: "Reload demo-chat" });
  assert.ok(await reload.isDisabled());
  await chat.getByRole("combobox").selectOption("");
  await reload.click();
  await chat.getByText("8-bit cache").waitFor({ state: "detached" });
  await chat.getByText("Loaded", { exact: true }).waitFor(); // it is unloaded for a moment
  await chat.getByRole("button", { name: "Pin demo-chat", exact: true }).click();
  await chat.getByText("Pinned", { exact: true }).waitFor();
  await chat.getByRole("button", { name: "Unpin demo-chat" }).click();
  await chat.getByText("Pinned", { exact: true }).waitFor({ state: "detached" });
  await page.locator("#memory", { hasText: /GiB of .* memory used, .* by models/ }).waitFor();
  await enter(chat.getByRole("button", { name: "Unload demo-chat" }));
  await chat.getByText("Loaded", { exact: true }).waitFor({ state: "detached" });
  assert.equal(await chat.getByRole("button", { name: /Delete/ }).count(), 0);
}, { opened: async (page) => { await unloaded(); await opened(page); } });

onPage("a scan and an unknown model are answered by the service", async (page) => {
  await row(page, "demo-vision").waitFor();
  assert.ok(await row(page, "demo-vision").getByText("Sees images").isVisible());
  await page.getByRole("button", { name: "Scan folders again" }).click();
  await page.locator("#live", { hasText: /\d+ models were found/ }).waitFor({ state: "attached" });
  await page.getByLabel("Download a model").fill("what is this?");
  await page.keyboard.press("Enter");
  assert.match(await page.locator("#get-problem").innerText(), /owner\/name/);
}, { opened });

onPage("names are read from what people paste", async (page) => {
  const read = await page.evaluate(async (texts) => {
    const { wantedModel } = await import("/static/models/names.js");
    return texts.map(wantedModel);
  }, ["mlx-community/Qwen3-4B-4bit", "  https://hub.example/a/b/tree/main?x=1 ", "<https://hub.example/a/b>", "hf download a/b",
    '"a/b"', "smollm2", "ftp://hub.example/a/b", "a/b/c", "../etc", ""]);
  assert.deepEqual(read, ["mlx-community/Qwen3-4B-4bit", "https://hub.example/a/b/tree/main?x=1", "https://hub.example/a/b", "a/b", "a/b",
    "smollm2", null, null, null, null]);
}, { opened });

onPage("a download shows its progress, and can be cancelled and resumed", async (page) => {
  const shown = await pretend(page, [fetching()]);
  const one = row(page, "Model");
  assert.match(await one.innerText(), /42 % · 1.3 GiB of 3.0 GiB · 31 MiB\/s · 2 min left/);
  assert.equal(await one.locator("progress").evaluate((bar) => bar.value), 42.7);
  assert.ok(await one.getByRole("button", { name: "Delete Model" }).isHidden());
  const rest = fetching({ downloading: false, download_speed: null, download_eta: null, download_error: "The download was cancelled." });
  const cancelled = await command(page, "download/cancel", { status: "cancelled", model_id: "m" }, 200, () => { shown.list = [rest]; });
  await one.getByRole("button", { name: "Cancel Model" }).click();
  await one.getByText("The download was cancelled.").waitFor();
  assert.deepEqual(cancelled, [{ model_id: "m" }]);
  const begun = await command(page, "download", { status: "downloading", model_id: "m", size: 1 });
  await one.getByRole("button", { name: "Resume Model" }).click();
  await page.waitForFunction(() => /is being downloaded/.test(document.querySelector("#live").textContent));
  assert.deepEqual(begun, [{ model_id: "someone/Model" }]);
});

onPage("a load shows how much of the weights is read, whoever began it; pinning loads with the chosen cache", async (page) => {
  const shown = await pretend(page, [model({ load_progress: 42.7 })]);
  const one = row(page, "Model"), pin = one.getByRole("button", { name: "Pin Model", exact: true });
  await one.getByText("Loading: 42 % of 3.0 GiB read").waitFor();
  assert.equal(await one.locator("progress").evaluate((bar) => bar.value), 42.7);
  assert.ok(await pin.isDisabled());
  shown.list = [model({ load_progress: 100 })];
  await one.getByText("Loading: weights read, getting ready").waitFor();
  shown.list = [model({ loaded: true, draft_model: "small" })];
  await one.locator(".doing").first().waitFor({ state: "hidden" });
  await one.getByRole("combobox").selectOption("4");
  const sent = await command(page, "load", { status: "loaded", model_id: "m" }, 200, () => { shown.list = [model({ loaded: true, pinned: true, kv_quantization: 4 })]; });
  await pin.click();
  await one.getByText("Pinned", { exact: true }).waitFor();
  assert.deepEqual(sent, [{ model_id: "m", kv_quantization: 4, draft_model: "small", pin: true }]);
});

onPage("the end of a download is said, also to who doesn't see it", async (page) => {
  const shown = await pretend(page, [fetching()]);
  await row(page, "Model").locator("progress").waitFor();
  shown.list = [model({ repository: "someone/Model" })];
  await page.waitForFunction(() => document.querySelector("#live").textContent === "Model has been downloaded.");
  assert.ok(await row(page, "Model").getByRole("button", { name: "Load Model" }).isVisible());
});

onPage("a pasted address is downloaded; a refusal is said in the service's words", async (page) => {
  const shown = await pretend(page, [model()]);
  const refused = await command(page, "download", { detail: "The disk is too small.", code: "insufficient_disk", errors: [] }, 507);
  const field = page.getByLabel("Download a model");
  await field.fill("https://hub.example/someone/Model");
  await page.keyboard.press("Enter");
  await page.getByText("The disk is too small.").waitFor();
  assert.equal(await field.inputValue(), "https://hub.example/someone/Model");
  assert.deepEqual(refused, [{ model_id: "https://hub.example/someone/Model" }]);
  await page.unroute(`${MODELS}/download`);
  await command(page, "download", { status: "downloading", model_id: "n", size: 1 });
  shown.list = [model(), fetching({ id: "n", name: "New" })];
  await page.keyboard.press("Enter");
  await row(page, "New").waitFor();
  await page.waitForFunction(() => document.getElementById("wanted").value === "");
  assert.ok(await page.locator("#get-problem").isHidden());
});

onPage("only what was downloaded here can be deleted, and only after a question", async (page) => {
  const shown = await pretend(page, [model({ name: "Shipped", id: "s" }), model({ deletable: true })]);
  const gone = () => shown.list.pop();
  const sent = await command(page, "delete", { status: "deleted", model_id: "m" }, 200, gone);
  assert.ok(await row(page, "Shipped").getByRole("button", { name: "Delete Shipped" }).isHidden());
  const button = row(page, "Model").getByRole("button", { name: "Delete Model" });
  await button.click();
  assert.match(await page.locator("#confirm-text").innerText(), /The files of Model are removed/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "confirm-no");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.activeElement.getAttribute("aria-label") === "Delete Model");
  assert.deepEqual(sent, []);
  await button.click();
  await page.locator("#confirm-yes").click();
  await row(page, "Model").waitFor({ state: "detached" });
  assert.deepEqual(sent, [{ model_id: "m" }]);
});

onPage("a model in use says so when it can't be unloaded", async (page) => {
  await pretend(page, [model({ loaded: true })]);
  await command(page, "unload", { detail: "The model is in use.", code: "load_conflict", errors: [] }, 409);
  await row(page, "Model").getByRole("button", { name: "Unload Model" }).click();
  await page.locator("#action-problem", { hasText: "The model is in use." }).waitFor();
  await row(page, "Model").getByRole("progressbar").waitFor({ state: "hidden" });
});

onPage("a menu keeps the focus and the choice while the list is renewed", async (page) => {
  const shown = await pretend(page, [fetching({ id: "d", name: "Other" }), model()]);
  const menu = row(page, "Model").getByRole("combobox");
  await menu.focus();
  await menu.selectOption("4");
  shown.list = [fetching({ id: "d", name: "Other", download_progress: 50 }), model()];
  await row(page, "Other").getByText(/^50 %/).waitFor();
  assert.equal(await menu.inputValue(), "4");
  assert.ok(await menu.evaluate((one) => document.activeElement === one));
});

onPage("suggestions are those for the machine's memory, and know what is here", async (page) => {
  await pretend(page, [model({ repository: "mlx-community/Qwen3-8B-4bit", name: "Qwen3-8B-4bit" })]);
  const group = page.locator("#suggestions > details[open]");
  await group.waitFor();
  assert.equal(await group.count(), 1);
  assert.equal(await group.locator("summary").innerText(), "16 GB of memory and up");
  assert.match(await group.locator("li", { hasText: "Qwen3 8B" }).innerText(), /On this machine[\s\S]*Apache-2.0/);
  assert.match(await row(page, "Qwen3-8B-4bit").innerText(), /Apache-2.0/);
  const sent = await command(page, "download", { status: "downloading", model_id: "n", size: 1 });
  await group.getByRole("button", { name: "Download Gemma 3 12B" }).click();
  await page.waitForFunction(() => /has begun/.test(document.querySelector("#live").textContent));
  assert.deepEqual(sent, [{ model_id: "mlx-community/gemma-3-12b-it-qat-4bit" }]);
  await page.locator("summary", { hasText: "64 GB" }).click();
  assert.match(await page.locator("details li", { hasText: "Llama 3.3 70B" }).innerText(), /Needs more memory/);
});

onPage("names that a folder may have are text and nothing else", async (page) => {
  const name = '<img src=x onerror="document.title=1">';
  await pretend(page, [model({ name, repository: name, deletable: true }), fetching({ id: "f", downloading: false, download_error: name })]);
  assert.equal(await page.locator("#list .name > span").first().innerText(), name);
  assert.equal(await page.locator("main img").count(), 0);
});

onPage("who is not signed in signs in, and comes back to the page", async (page) => {
  await page.waitForURL(/\/login\?next=/);
  await page.getByLabel("API key").fill("ann-0123456789abcdef");
  await page.keyboard.press("Enter");
  await page.waitForURL(KEYED + PAGE);
  await row(page, "demo-chat").waitFor();
}, { opened: (page) => page.goto(KEYED + PAGE) });

for (const colorScheme of ["light", "dark"]) {
  onPage(`a phone shows it all without scrolling sideways (${colorScheme})`, async (page) => {
    const long = "a-very-long-name-of-a-model-".repeat(4);
    await pretend(page, [model({ name: long, repository: `someone/${long}`, loaded: true, kv_quantization: 4, is_vision: true, takes_tools: true, deletable: true }), fetching()]);
    await page.locator("#suggestions details").first().waitFor();
    await page.evaluate(() => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
    const [inside, outside] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(inside <= outside, `${inside} > ${outside}`);
  }, { viewport: { width: 360, height: 740 }, colorScheme });
}
