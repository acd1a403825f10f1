/* Frames in which something can be played are as high as what is in them, and as dark as the page. */
(() => {
  const frames = () => document.querySelectorAll("iframe.play");
  const theme = () => frames().forEach((frame) => frame.contentWindow?.postMessage({ wmTheme: document.documentElement.dataset.theme }, "*"));
  window.addEventListener("message", ({ source, data }) => {
    for (const frame of frames())
      if (frame.contentWindow === source && data?.wmHeight > 0) {
        frame.style.height = `${Math.ceil(data.wmHeight)}px`;
        theme();
      }
  });
  new MutationObserver(theme).observe(document.documentElement, { attributeFilter: ["data-theme"] });
})();
