// The login form. A link from another site comes without the session cookie (SameSite=Strict) though there is one:
// then asking again from here is enough.

const form = document.getElementById("login");
const why = document.getElementById("why");
const again = () => location.replace(location.pathname === "/login" ? "/" : location.href);

const known = await fetch("/api/v1/openapi.json", { method: "GET" });
if (known.ok) again();

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = document.getElementById("token").value.trim();
  const answer = await fetch("/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  }).catch(() => null);
  if (answer?.ok) {
    again();
    return;
  }
  why.textContent = answer ? (await answer.json()).error.message : "The sensor does not answer.";
});
