// Logs in like upstream's dashboard: with /api/current_deployment of the server, the stored login of this tab, or a
// form. Then requests the data of a page from the backend with the admin key.
const state = document.querySelector("#state");
const main = document.querySelector("main");
const stored = ["deploymentName", "deploymentUrl", "adminKey"];
// As in upstream's pages; the build replaces it.
const EDITOR = "https://cdn.jsdelivr.net/npm/monaco-editor@0.54.0/min/vs";

async function currentDeployment() {
  try {
    const response = await fetch("/api/current_deployment");
    if (!response.ok) return undefined;
    const { name, url, adminKey } = await response.json();
    return typeof url === "string" && typeof adminKey === "string" ? { name, url, adminKey } : undefined;
  } catch {
    return undefined; // No endpoint, or not JSON.
  }
}

function remembered() {
  const [name, url, adminKey] = stored.map((key) => sessionStorage.getItem(key));
  return url && adminKey ? { name, url, adminKey } : undefined;
}

async function ask({ url, adminKey }, path, body) {
  const response = await fetch(url + path, {
    method: body ? "POST" : "GET",
    headers: { authorization: `Convex ${adminKey}`, ...(body && { "content-type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  if (answer.status === "error") throw new Error(answer.errorMessage);
  return answer;
}

const query = async (deployment, path, args = {}) => (await ask(deployment, "/api/query", { path, args, format: "json" })).value;

// The title and contents of each page.
const pages = {
  health: ["Health", async (deployment) => [`version ${await (await fetch(`${deployment.url}/version`)).text()}`]],
  data: ["Data", async (deployment) => (await query(deployment, "_system/cli/tables", { paginationOpts: { numItems: 1000, cursor: null } })).page.map(({ name }) => name)],
  functions: ["Functions", async (deployment) => (await query(deployment, "_system/cli/modules:apiSpec")).map(({ identifier, method, path }) => identifier ?? `${method} ${path}`)],
  "environment-variables": ["Environment Variables", async (deployment) => (await query(deployment, "_system/cli/queryEnvironmentVariables")).map(({ name }) => name)],
};
const page = (document.body.dataset.page = location.pathname.split("/").at(-1) || "health");
const [title, listed] = pages[page] ?? pages.health;
document.querySelector("h1").textContent = title;

async function show(deployment) {
  await ask(deployment, "/api/check_admin_key");
  const lines = await listed(deployment);
  state.textContent = `Connected to ${deployment.name ?? "the deployment"} at ${deployment.url}`;
  const list = document.createElement("ul");
  for (const line of lines) {
    const item = document.createElement("li");
    item.textContent = line;
    list.append(item);
  }
  main.replaceChildren(list);
  if (document.body.dataset.page === "functions") main.append(runner());
}

// A button that opens the editor of the function runner.
function runner() {
  const button = document.createElement("button");
  button.textContent = "Run Functions";
  button.addEventListener("click", async () => {
    const place = document.createElement("div");
    place.style.height = "10em";
    button.replaceWith(place);
    await new Promise((resolve, reject) => {
      const loader = document.createElement("script");
      Object.assign(loader, { src: `${EDITOR}/loader.js`, onload: resolve, onerror: () => reject(new Error("no editor")) });
      document.head.append(loader);
    });
    window.require.config({ paths: { vs: EDITOR } });
    window.require(["vs/editor/editor.main"], ({ m: monaco }) => monaco.editor.create(place, { value: "export default query({});", language: "typescript" }));
  });
  return button;
}

function logIn(message) {
  state.textContent = message;
  const form = document.createElement("form");
  form.innerHTML = `<label>Deployment URL <input name="url" type="url" required /></label>
    <label>Admin Key <input name="adminKey" type="password" required /></label> <button>Log In</button>`;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { url, adminKey } = Object.fromEntries(new FormData(form));
    const deployment = { name: adminKey.split("|")[0], url: url.replace(/\/$/, ""), adminKey };
    show(deployment).then(
      () => [deployment.name, deployment.url, adminKey].forEach((value, index) => sessionStorage.setItem(stored[index], value)),
      (error) => logIn(error.message),
    );
  });
  main.replaceChildren(form);
}

const deployment = (await currentDeployment()) ?? remembered();
if (deployment) show(deployment).catch((error) => logIn(error.message));
else logIn("Log in with the deployment's address and admin key");
