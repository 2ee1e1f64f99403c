// A chat from the reader's side: send, answer, stop, regenerate, store.

import { HUNDRED, SERVICE, answers, ask, assert, finished, inTheMiddle, last, onPage, reload, textOf, told, write } from "./page.mjs";

onPage("a question is answered, with its figures, which stay", async (page) => {
  assert.equal(await ask(page, "What is the opposite of hot?"), "The opposite of hot is cold.");
  const facts = await last(page).locator(".facts").innerText();
  assert.match(facts, /^demo-chat · \d+ tokens · [\d.]+ tokens\/s · first token after/);
  await reload(page); // The answer is drawn before the models' names are known.
  assert.equal(await last(page).locator(".facts").innerText(), facts);
});

onPage("Escape stops an answer and keeps what was said", async (page) => {
  await inTheMiddle(page, () => Promise.all([page.waitForResponse("**/api/engine/chat/stop"), page.keyboard.press("Escape")]));
  const text = await finished(page);
  assert.ok(HUNDRED.startsWith(text) && text.length < HUNDRED.length, text);
  assert.match(await last(page).locator(".facts").innerText(), /Stopped/);
  assert.ok(await page.locator("#send").isVisible());
});

onPage("an answer is asked for again, and a message edited and sent again", async (page) => {
  await ask(page, "What is the opposite of hot?");
  await last(page).getByRole("button", { name: "Answer again" }).click();
  assert.equal(await finished(page), "The opposite of hot is cold.");
  assert.equal(await answers(page).count(), 1);
  await page.locator(".user").hover();
  await page.getByRole("button", { name: "Edit and send again" }).click();
  await page.getByLabel("Edit the message").fill("What is the opposite of big?");
  await page.keyboard.press("Enter");
  assert.match(await finished(page), /small/);
  assert.equal(await page.locator(".user").count(), 1);
});

onPage("conversations are kept over a reload, renamed, deleted and brought back", async (page) => {
  await ask(page, "Tell me a joke.");
  await page.keyboard.press("Alt+KeyN");
  await ask(page, "What is the opposite of hot?");
  await reload(page);
  assert.equal(await textOf(page), "The opposite of hot is cold.");
  const rows = page.locator("#conversations li");
  assert.equal(await rows.count(), 2);
  await rows.first().hover();
  await rows.first().getByRole("button", { name: /^Rename/ }).click();
  await page.keyboard.type("Opposites");
  await page.keyboard.press("Enter");
  assert.equal(await rows.first().innerText(), "Opposites");
  await rows.first().hover();
  await rows.first().getByRole("button", { name: /^Delete/ }).click();
  assert.equal(await rows.count(), 1);
  await page.getByRole("button", { name: "Undo" }).click();
  assert.equal(await rows.count(), 2);
});

onPage("settings reach the model: a limit of tokens and a seed", async (page) => {
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Max tokens").fill("5");
  await page.getByLabel("Seed").fill("x");
  await page.getByRole("button", { name: "Done" }).click();
  assert.match(await page.locator("#settings-problem").innerText(), /whole number/);
  await page.getByLabel("Seed").fill("7");
  await page.getByRole("button", { name: "Done" }).click();
  const sent = page.waitForRequest("**/api/engine/chat");
  await write(page, "Count to a hundred.");
  const body = (await sent).postDataJSON();
  assert.deepEqual([body.seed, body.max_tokens, body.on_disconnect], [7, 5, "continue"]);
  await finished(page);
  assert.match(await last(page).locator(".facts").innerText(), /5 tokens .*Stopped at the token limit/);
});

onPage("further settings reach the model when they are set, and only then", async (page) => {
  const open = () => page.getByRole("button", { name: "Settings" }).click();
  const done = () => page.getByRole("button", { name: "Done" }).click();
  await open();
  await page.getByLabel("Max tokens").fill("5");
  await page.getByText("More", { exact: true }).click();
  await page.getByLabel("Top-k").fill("0.5");
  await done();
  assert.match(await page.locator("#settings-problem").innerText(), /Top-k is a whole number from 0 to 1000000/);
  await page.getByLabel("Top-k").fill("40");
  await page.getByLabel("Min-p").fill("0.05");
  await page.getByLabel("Presence penalty").fill("0.5");
  await page.getByLabel("Frequency penalty").fill("-0.25");
  await page.getByLabel("Stop texts").fill("END\n\\n\\n\nback\\\\slash");
  await done();
  const sent = page.waitForRequest("**/api/engine/chat");
  await write(page, "Count to a hundred.");
  const body = (await sent).postDataJSON();
  assert.deepEqual([body.top_k, body.min_p, body.presence_penalty, body.frequency_penalty], [40, 0.05, 0.5, -0.25]);
  assert.deepEqual(body.stop, ["END", "\n\n", "back\\slash"]);
  assert.ok(!("top_p" in body) && !("repetition_penalty" in body));
  await finished(page);
  await open();
  assert.equal(await page.getByLabel("Top-k").inputValue(), "40");
  assert.equal(await page.getByLabel("Stop texts").inputValue(), "END\n\\n\\n\nback\\\\slash");
});

onPage("a system prompt that is set is seen, and a click away", async (page) => {
  const sign = page.locator("#system-set");
  assert.ok(!(await sign.isVisible()));
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("System prompt").fill("Be brief.");
  await page.getByRole("button", { name: "Done" }).click();
  assert.equal(await sign.innerText(), "System prompt: Be brief.");
  const sent = page.waitForRequest("**/api/engine/chat");
  await ask(page, "What is the opposite of hot?");
  assert.deepEqual((await sent).postDataJSON().messages[0], { role: "system", content: "Be brief." });
  await sign.click();
  await page.getByLabel("System prompt").fill("");
  await page.getByRole("button", { name: "Done" }).click();
  assert.ok(!(await sign.isVisible()));
});

onPage("the model that the service calls its default is chosen first", async (page) => {
  await page.route("**/models", async (route) => {
    const rows = await (await route.fetch()).json();
    await route.fulfill({ json: rows.map((row) => ({ ...row, default: row.name === "demo-vision" })) });
  });
  await page.evaluate(() => localStorage.clear());
  await page.goto("about:blank");
  await page.goto(SERVICE);
  await page.waitForSelector("#model option[value]", { state: "attached" });
  assert.match(await page.locator("#model option:checked").innerText(), /^demo-vision/);
});

onPage("who waits is told the place in the queue", async (page) => {
  const model = await page.locator("#model").inputValue();
  const body = { model_id: model, messages: [{ role: "user", content: "Count to a hundred." }], on_disconnect: "continue" };
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const others = await Promise.all(Array.from({ length: 8 }, () => fetch(`${SERVICE}/api/engine/chat`, options)));
  await write(page, "Tell me a joke.");
  await page.waitForFunction(() => /^(Number \d|Next) in the queue$/.test([...document.querySelectorAll(".waiting")].at(-1)?.textContent));
  assert.notEqual(await finished(page), "");
  await Promise.all(others.map((one) => one.text()));
});

onPage("a full queue is told in words and asked again; other refusals end the try", async (page) => {
  const refuse = (status, code, headers = {}) => (route) => route.fulfill({ status, headers, json: { detail: "No.", code, errors: [] } });
  await page.route("**/api/engine/chat", refuse(429, "queue_full", { "Retry-After": "2" }), { times: 1 });
  await Promise.all([told(page, "The queue is full. Trying again in"), write(page, "What is the opposite of hot?")]);
  assert.equal(await finished(page), "The opposite of hot is cold.");
  await page.route("**/api/engine/chat", refuse(422, "prompt_too_long"), { times: 1 });
  await write(page, "Tell me a joke.");
  await finished(page);
  assert.match(await last(page).locator(".notice.error").innerText(), /too long for the model/);
  await last(page).getByRole("button", { name: "Try again" }).click();
  assert.notEqual(await finished(page), "");
  assert.equal(await last(page).locator(".notice.error").count(), 0);
});

onPage("a session that has ended is begun anew in the page, and the message is sent then", async (page) => {
  const unknown = { status: 401, json: { detail: "Send a valid API key.", code: "unauthorized", errors: [] } };
  let signedIn = false;
  await page.route("**/api/engine/chat", (route) => (signedIn ? route.continue() : route.fulfill(unknown)));
  await page.route("**/login", (route) => {
    signedIn = new URLSearchParams(route.request().postData()).get("key") === "right";
    return route.fulfill({ status: signedIn ? 200 : 401, contentType: "text/html", body: "" });
  });
  await write(page, "What is the opposite of hot?");
  await page.getByLabel("API key").fill("wrong");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#sign-in-problem:not([hidden])");
  await page.getByLabel("API key").fill("right");
  await page.keyboard.press("Enter");
  assert.equal(await finished(page), "The opposite of hot is cold.");
  assert.ok(!(await page.locator("#sign-in").isVisible()));
});
