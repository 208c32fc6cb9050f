"use strict";
// Looks at the page as its own test does (`look`), judges it, and reports.
(async () => {
  const report = { error: null };
  try {
    await look(report);
    report.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
    report.taken = window.taken === 1;
    const judged = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    report.passes = judged.passes.length;
    report.violations = judged.violations
      .map((v) => ({ id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 3).map((n) => n.html) }));
  } catch (error) {
    report.error = String(error) + " " + document.body.textContent.slice(0, 300);
  }
  await fetch("done", { method: "POST", body: JSON.stringify(report) });
})();
