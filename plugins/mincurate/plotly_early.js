// The App loads Plotly, which is large, when a page first draws a figure: the panel “Long tail” then
// waits for it for seconds. Here it is loaded before, when the page has nothing else to do.
(() => {
  const PATIENCE = 1000; // ms, in which the page asks for its first images
  const PLOTLY = /\.\/(react-plotly-[\w-]+\.js)/; // named by a digest: the App's scripts know it

  async function load() {
    const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
    for (const script of loaded.filter((name) => /\/assets\/[^/?]+\.js$/.test(name))) {
      const text = await (await fetch(script, { cache: "force-cache" })).text();
      const found = text.match(PLOTLY);
      if (found) {
        await import(new URL(found[1], script).href);
        return;
      }
    }
    console.debug("mincurate: no Plotly was found to load early");
  }

  const whenIdle = window.requestIdleCallback ?? ((go) => setTimeout(go, PATIENCE));
  setTimeout(() => whenIdle(() => load().catch(console.debug)), PATIENCE);
})();
