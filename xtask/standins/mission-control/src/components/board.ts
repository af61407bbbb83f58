export const TENANT = { tenantId: "default" };
export type Agent = { _id: string; name: string };
export type Task = { _id: string; title: string; status: string };
export type Message = { _id: string; agentName: string; content: string };
