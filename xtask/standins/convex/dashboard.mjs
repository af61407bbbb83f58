// The dashboard's requests: system queries, by their path below `_system/frontend/`, and endpoints. Features that this
// stand-in does not have (components, crons, files, exports, metrics) are empty.
const none = () => null;
const noList = () => [];
export const onePage = (documents) => ({ page: documents, isDone: true, continueCursor: "_end" });
const noPage = () => onePage([]);

const modulesOf = ({ runtime }) =>
  Object.entries(runtime.program.analysis).map(([path, { functions, httpRoutes }]) => [
    path,
    {
      functions: [
        ...functions.map(({ name, udfType, visibility, args }) => ({ name, udfType, visibility, argsValidator: args })),
        ...(httpRoutes ?? []).map(({ route: { method, path: route } }) => ({ name: `${method} ${route}`, udfType: "HttpAction", visibility: { kind: "public" } })),
      ],
    },
  ]);

const documentsOf = ({ store }, table) => store.documents(table).reverse();
const isOfUser = (name) => !name.startsWith("_");

export const dashboardQueries = {
  "modules:list": modulesOf,
  "modules:listForAllComponents": (backend) => [[null, modulesOf(backend)]],
  "modules:argsValidator": ({ runtime }, args) => {
    const found = runtime.program.functions.get(args.function);
    return found ? JSON.stringify(found.args) : null;
  },
  "components:list": noList,
  "deploymentState:deploymentState": () => ({ state: "running" }),
  "backendState:backendState": () => ({ system: "none", usage_limit: "none", user: "none" }),
  getVersion: ({ store }) => store.meta("udfServerVersion") ?? null,
  "node:version": none,
  getSchemas: ({ runtime }) => (runtime.program.schema ? { active: JSON.stringify(runtime.program.schema) } : {}),
  "getSchemas:schemaValidationProgress": none,
  getTableMapping: ({ store }) => Object.fromEntries(store.tableNames().filter(isOfUser).map((name) => [store.tableNumber(name), name])),
  indexes: ({ runtime }, { tableName }) => {
    const table = runtime.program.schema?.tables.find((one) => one.tableName === tableName);
    return (table?.indexes ?? []).map(({ indexDescriptor, fields }) => ({ name: indexDescriptor, staged: false, fields, backfill: { state: "done" } }));
  },
  tableSize: ({ store }, { tableName }) => store.documents(tableName).length,
  "tableSize:sizeOfAllTables": ({ store }) => store.tableNames().filter(isOfUser).reduce((sum, name) => sum + store.documents(name).length, 0),
  paginatedTableDocuments: (backend, { table, filters }) => {
    if (filters !== null) throw new Error("the stand-in does not filter");
    return onePage(documentsOf(backend, table));
  },
  listTableScan: (backend, { table, limit }) => documentsOf(backend, table).slice(0, limit),
  getById: ({ store }, { id }) => store.document(id),
  listById: ({ store }, { ids }) => ids.map(({ id }) => store.document(id)),
  listEnvironmentVariables: ({ store }) => Object.entries(store.environment()).map(([name, value]) => ({ _id: name, _creationTime: 0, name, value })),
  listAuthProviders: ({ runtime }) => runtime.program.auth.map((provider, index) => ({ _id: String(index), _creationTime: 0, ...provider })),
  convexCloudUrl: ({ system }) => system.CONVEX_CLOUD_URL,
  convexSiteUrl: ({ system }) => system.CONVEX_SITE_URL,
  listCronJobs: noList,
  listCronJobRuns: noList,
  paginatedScheduledJobs: noPage,
  paginatedDeploymentEvents: noPage,
  listDeploymentEventsFromTime: noList,
  "deploymentEvents:lastPushEvent": none,
  "fileStorageV2:numFiles": () => 0,
  "fileStorageV2:fileMetadata": noPage,
  latestExport: none,
  "latestExport:latestExport": none,
  "latestExport:latestCloudExport": none,
  "latestExport:canExportFileStorage": () => true,
  "snapshotImport:list": noList,
  listConfiguredSinks: noList,
};

// An empty bucket for each interval of the requested time.
function emptySeries(text) {
  const { start, end, num_buckets: count } = JSON.parse(text);
  const width = (end.secs_since_epoch - start.secs_since_epoch) / count;
  return Array.from({ length: count }, (_, index) => [{ secs_since_epoch: Math.floor(start.secs_since_epoch + index * width), nanos_since_epoch: 0 }, null]);
}

const LOGS_PAUSE = 10_000;

/** The response to a GET, or undefined for unknown paths. */
export function dashboardAnswer({ store }, { path, query }) {
  switch (path) {
    case "/api/shapes2":
      return Object.fromEntries(store.tableNames().filter(isOfUser).map((name) => [name, { type: store.documents(name).length > 0 ? "Unknown" : "Never" }]));
    case "/api/v1/get_current_usage":
      return { metrics: {}, seedStatus: "complete" };
    case "/api/v1/list_usage_limits":
      return { usageLimits: [] };
    case "/api/app_metrics/stream_function_logs":
      // Like upstream, waits for the next entry.
      return new Promise((resolve) => setTimeout(() => resolve({ entries: [], newCursor: Date.now() }), LOGS_PAUSE).unref());
    default:
      if (!path.startsWith("/api/app_metrics/")) return undefined;
      return path.endsWith("_top_k") || path.endsWith("latency_percentiles") ? [] : emptySeries(query.get("window"));
  }
}
