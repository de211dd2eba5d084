// The list of jobs: the buttons say how many are selected, and one box selects the page.
"use strict";
(() => {
  const boxes = () => [...document.querySelectorAll("[data-select]")];

  const show = () => {
    const selected = boxes().filter((box) => box.checked).length;
    for (const button of document.querySelectorAll("[data-of-selection]")) {
      button.disabled = selected === 0;
      button.querySelector("span").textContent = `${button.dataset.ofSelection} ${selected || "the selected"}`;
    }
    const page = document.querySelector("[data-select-page]");
    if (page) {
      page.checked = selected > 0 && selected === boxes().length;
      page.indeterminate = selected > 0 && !page.checked;
    }
  };

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-select-page]")) {
      for (const box of boxes()) box.checked = event.target.checked;
    }
    show();
  });
  document.addEventListener("htmx:afterSettle", show);
  addEventListener("pageshow", show);
  show();
})();
