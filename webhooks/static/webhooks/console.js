// What every page of the console does by itself: refresh, the keys, the theme's button, copying.
"use strict";
(() => {
  const main = () => document.getElementById("main");

  // A refresh would take the ground from under somebody who selects rows, types, or has a dialog open.
  const isBusy = () =>
    document.hidden ||
    document.querySelector("[data-select]:checked") !== null ||
    document.querySelector(".modal.show, .dropdown-menu.show") !== null ||
    (document.activeElement && document.activeElement.matches("input:not([type=checkbox]), textarea, select")) ||
    String(getSelection()) !== "";

  let waited = 0;
  setInterval(() => {
    const seconds = Number(main()?.dataset.live || 0);
    if (!seconds) return;
    waited += 1;
    if (waited < seconds || isBusy()) return;
    waited = 0;
    htmx.trigger(main(), "live");
  }, 1000);

  // What the user has folded out stays so, and what was loaded into it stays there.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => !(name === "open" && element.matches("details"));
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (element) =>
    !(element.nodeType === Node.ELEMENT_NODE && element.matches("[data-keep]"));

  // A page of the sign-in form, or of an error, is no answer to a refresh: show it as the page that it is.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.responseURL && new URL(event.detail.xhr.responseURL).pathname.startsWith("/sign-in/")) {
      event.detail.shouldSwap = false;
      location.reload();
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
    } else if (event.key === "t") {
      window.hooklineToggleTheme();
    } else if (event.key === "?") {
      document.querySelector('[data-bs-target="#keys"]').click();
    }
  });

  document.addEventListener("click", async (event) => {
    if (event.target.closest("[data-theme-toggle]")) window.hooklineToggleTheme();
    const copying = event.target.closest("[data-copy]");
    if (copying) {
      await navigator.clipboard.writeText(copying.dataset.copy);
      copying.setAttribute("aria-label", "Copied");
      copying.classList.add("text-green");
    }
  });
})();
