// Data files call trustad.put(); load() adds the script elements that are still missing and waits for them.
"use strict";
const trustad = (() => {
  const files = new Map();
  const waiting = new Map();
  const put = (key, value) => files.set(key, value);
  const get = (key) => files.get(key);
  const load = (root, keys) => Promise.all(keys.filter((key) => !files.has(key)).map((key) => {
    if (!waiting.has(key)) {
      waiting.set(key, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `${root}data/${key}.js`;
        script.onload = resolve;
        script.onerror = () => reject(new Error(`cannot load data/${key}.js`));
        document.head.append(script);
      }));
    }
    return waiting.get(key);
  }));
  return { put, get, load };
})();
