// Applies the colour theme that the reader has chosen, before the first paint, and handles the
// header's button. A classic script, not a module: modules run only after the first paint. Knows
// nothing of the page around it.
(() => {
  const NAME = "mlxq-theme"; // "light" or "dark"; absent: the system's theme
  const root = document.documentElement;

  function stored() {
    try { return localStorage.getItem(NAME); } catch { return null; } // storage may be forbidden
  }

  function keep(theme) {
    // Where storage is forbidden, the theme lasts as long as this page.
    try { localStorage.setItem(NAME, theme); } catch { /* forbidden */ }
  }

  const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  const chosen = () => root.dataset.theme ?? (dark() ? "dark" : "light");

  const before = stored();
  if (before === "light" || before === "dark") root.dataset.theme = before;

  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-theme-toggle]")) return;
    root.dataset.theme = chosen() === "dark" ? "light" : "dark";
    keep(root.dataset.theme);
  });
})();
