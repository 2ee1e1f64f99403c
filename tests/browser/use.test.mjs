// Use of the page: keyboard, screen reader, phone, light and dark, scrolling while text arrives.

import { HUNDRED, SERVICE, answers, ask, assert, finished, inTheMiddle, onPage } from "./page.mjs";

for (const width of [320, 390]) {
  onPage(`nothing is wider than a page of ${width} pixels`, async (page) => {
    const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.getElementById("scroller").scrollWidth <= document.getElementById("scroller").clientWidth);
    assert.ok(await fits(), "empty");
    await ask(page, `Count to a hundred. ${"x".repeat(120)}`);
    await page.evaluate(async () => {
      const { MarkdownAnswer } = await import("/static/markdown/answer.js");
      const long = "x".repeat(200);
      new MarkdownAnswer(document.querySelector(".answer .text")).show(
        `${long}\n\n\`\`\`py\n${long}\n\`\`\`\n\n|${"| wide column ".repeat(12)}|\n|${"|---".repeat(12)}|\n\n[${long}](https://example.org/${long})`);
    });
    assert.ok(await fits(), "chat");
    await page.getByRole("button", { name: "Conversations" }).click();
    await page.locator("#conversations .open").click();
    await page.getByRole("button", { name: "Settings" }).click();
    const box = await page.locator("#settings").boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= width);
    assert.ok(await fits(), "settings");
  }, { viewport: { width, height: 640 }, hasTouch: true, isMobile: true });
}

onPage("a chat needs no mouse", async (page) => {
  await page.keyboard.type("What is the opposite of hot?");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.press("Backspace");
  await page.keyboard.press("Enter");
  assert.equal(await finished(page), "The opposite of hot is cold.");
  await page.keyboard.press("ArrowUp");
  assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), "Edit the message");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Alt+KeyR");
  assert.equal(await finished(page), "The opposite of hot is cold.");
  await page.keyboard.press("Alt+KeyS");
  assert.ok(await page.locator("#settings").isVisible());
  await page.keyboard.press("Escape");
  assert.ok(!(await page.locator("#settings").isVisible()));
  await page.keyboard.press("Alt+KeyK");
  assert.match(await page.locator("#shortcut-list").innerText(), /Stop the answer/);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Alt+KeyN");
  assert.equal(await answers(page).count(), 0);
  const reached = new Set();
  for (let step = 0; step < 25; step += 1) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.className));
  }
  for (const wanted of ["new", "open", "message", "attach", "model", "open-settings", "card"]) assert.ok(reached.has(wanted), wanted);
});

onPage("every control has a name, and the answer is told once, not token by token", async (page) => {
  await page.evaluate(() => {
    globalThis.told = [];
    const live = document.getElementById("live");
    new MutationObserver(() => told.push(live.textContent)).observe(live, { childList: true });
  });
  await ask(page, "Count to a hundred.");
  const told = await page.evaluate(() => globalThis.told);
  assert.ok(told.length <= 6, told.join("\n"));
  assert.deepEqual(told.slice(told.indexOf("Answering.")), ["Answering.", `Answer: ${HUNDRED}`]);
  await page.getByRole("button", { name: "Settings" }).click();
  const session = await page.context().newCDPSession(page);
  for (const close of [true, false]) {
    const { nodes } = await session.send("Accessibility.getFullAXTree");
    const controls = nodes.filter(({ ignored, role }) => !ignored && /^(button|link|textbox|combobox|slider|spinbutton|dialog|img|MenuListPopup)$/.test(role?.value));
    assert.ok(controls.length >= 5);
    for (const { role, name } of controls) if (role.value !== "MenuListPopup") assert.ok(name?.value?.trim(), `${role.value} without a name`);
    if (close) await page.keyboard.press("Escape");
  }
});

onPage("text has contrast enough in light and dark, and the choice is kept", async (page) => {
  const poor = () => page.evaluate(() => {
    const style = getComputedStyle(document.documentElement);
    const probe = document.body.appendChild(document.createElement("i"));
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const light = (name) => {
      probe.style.color = style.getPropertyValue(name);
      canvas.fillStyle = getComputedStyle(probe).color;
      canvas.fillRect(0, 0, 1, 1);
      const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const contrast = (one, other) => (Math.max(light(one), light(other)) + 0.05) / (Math.min(light(one), light(other)) + 0.05);
    const pairs = ["--text", "--muted", "--accent", "--error", "--warning", "--good"].flatMap((text) => ["--page", "--side", "--raised"].map((ground) => [text, ground]));
    pairs.push(["--on-accent", "--accent"], ["--warning", "--warning-soft"], ["--error", "--error-soft"], ["--text", "--accent-soft"], ["--muted", "--sunken"], ["--accent", "--accent-soft"]);
    return pairs.map(([text, ground]) => [text, ground, contrast(text, ground)]).filter(([, , value]) => value < 4.5);
  });
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const before = await ground();
  assert.deepEqual(await poor(), []);
  await page.getByRole("button", { name: "Switch between light and dark" }).click();
  assert.notEqual(await ground(), before);
  assert.deepEqual(await poor(), []);
  const chosen = await ground();
  await page.reload();
  assert.equal(await ground(), chosen);
});

onPage("the page follows the text until the reader scrolls up", async (page) => {
  const atEnd = () => page.evaluate(() => {
    const { scrollTop, scrollHeight, clientHeight } = document.getElementById("scroller");
    return scrollHeight - clientHeight - scrollTop < 4;
  });
  await ask(page, "Count to a hundred.");
  assert.ok(await atEnd());
  await inTheMiddle(page, async () => {
    await page.locator("#scroller").hover();
    await page.mouse.wheel(0, -20); // as a touchpad does
    await page.waitForFunction(() => {
      const { scrollTop, scrollHeight, clientHeight } = document.getElementById("scroller");
      return scrollHeight - clientHeight - scrollTop >= 4;
    });
  });
  await finished(page);
  assert.ok(!(await atEnd()));
  await page.getByRole("button", { name: "Scroll to the end" }).click();
  assert.ok(await atEnd());
}, { viewport: { width: 500, height: 420 } });

onPage("a browser that keeps nothing chats all the same", async (page) => {
  await page.addInitScript(() => {
    Object.defineProperty(window, "indexedDB", { get() { throw new Error("forbidden"); } });
    Object.defineProperty(window, "localStorage", { get() { throw new Error("forbidden"); } });
  });
  await page.goto(SERVICE);
  await page.locator("#not-kept").waitFor({ state: "visible" });
  await page.waitForSelector("#model option[value]", { state: "attached" });
  assert.equal(await ask(page, "What is the opposite of hot?"), "The opposite of hot is cold.");
});
