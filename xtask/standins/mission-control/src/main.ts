// Shows whether this browser reaches Convex, and the tasks that are there, as they come.
import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";

const url: string = import.meta.env.VITE_CONVEX_URL;
const state = document.querySelector("#state")!;
const list = document.querySelector("#tasks")!;

const client = new ConvexClient(url);
client.onUpdate(
  anyApi.queries.listTasks,
  { tenantId: "default" },
  (tasks: { title: string; status: string }[]) => {
    state.textContent = `Connected to Convex at ${url}`;
    list.replaceChildren(
      ...tasks.map(({ title, status }) => {
        const item = document.createElement("li");
        item.textContent = `${status}: ${title}`;
        return item;
      }),
    );
  },
  (error) => {
    state.textContent = `Convex at ${url} refuses: ${error.message}`;
  },
);
setInterval(() => {
  if (!client.client.connectionState().isWebSocketConnected) state.textContent = `Convex does not answer at ${url}`;
}, 2000);
