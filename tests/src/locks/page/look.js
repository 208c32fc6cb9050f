"use strict";
// Presses a button as an operator would, and looks at what becomes of it.
const look = async (report) => {
  const until = async (what, holds) => {
    for (let n = 0; n < 200; n++) {
      if (holds()) return;
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error("it does not come to this: " + what);
  };
  const button = (text) => [...document.querySelectorAll("#groups button")].find((b) => b.textContent === text);
  await until("boards", () => document.querySelectorAll(".board").length === BOARDS);
  if (!button("Pause").disabled) throw new Error("a button works without a token");
  document.getElementById("operator").open = true;
  document.getElementById("token").value = "TOKEN";
  document.querySelector("#login button").click();
  await until("buttons", () => button("Pause") && !button("Pause").disabled);
  // somebody else pauses: the page learns of it by itself
  await fetch("v1/groups/default/pause", {
    method: "POST",
    headers: { authorization: "Bearer TOKEN", "content-type": "application/json" },
    body: JSON.stringify({ by: "somebody else", reason: "to see" }),
  });
  await until("news", () => document.body.textContent.includes("Paused by somebody else: to see"));
  report.live = true;
  button("Resume").click();
  await until("resumed", () => !document.querySelector(".note") && button("Pause"));
  button("Pause").click();
  await until("paused", () => document.body.textContent.includes("Paused by the page: by hand"));
  report.paused = true;
  report.boards = document.querySelectorAll(".board").length;
};
