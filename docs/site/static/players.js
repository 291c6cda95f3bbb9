// The players are pages of their own: tell each which theme this page has, when it is there and when that changes.
"use strict";

(() => {
  const players = document.querySelectorAll("iframe.player");
  const tell = player => player.contentWindow.postMessage(document.body.dataset.theme || "auto", "*");
  for (const player of players) player.addEventListener("load", () => tell(player));
  const all = () => players.forEach(tell);
  new MutationObserver(all).observe(document.body, { attributeFilter: ["data-theme"] });
  all();
})();
