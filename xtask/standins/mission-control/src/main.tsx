// A plain version of upstream's page: the same client, steps and labels.
import { ConvexAuthProvider, useAuthActions } from "@convex-dev/auth/react";
import { Authenticated, ConvexReactClient, Unauthenticated } from "convex/react";
import { type FormEvent, useState } from "react";
import { createRoot } from "react-dom/client";
import MissionQueue from "./components/MissionQueue";

const convex = new ConvexReactClient(import.meta.env.VITE_CONVEX_URL);

function SignIn() {
  const { signIn } = useAuthActions();
  const [flow, setFlow] = useState("signIn");
  const [error, setError] = useState("");
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    form.set("flow", flow);
    void signIn("password", form).catch((reason: Error) => setError(reason.message));
  };
  return (
    <form onSubmit={submit}>
      <label>Email Address <input type="email" name="email" required /></label>
      <label>Password <input type="password" name="password" required /></label>
      <button type="submit">{flow === "signIn" ? "Execute Login" : "Initialize Account"}</button>
      <button type="button" onClick={() => setFlow(flow === "signIn" ? "signUp" : "signIn")}>
        {flow === "signIn" ? "No credentials? Initialize new account." : "Already registered? Execute login."}
      </button>
      <p>{error}</p>
    </form>
  );
}

createRoot(document.getElementById("root")!).render(
  <ConvexAuthProvider client={convex}>
    <Authenticated>
      <MissionQueue />
    </Authenticated>
    <Unauthenticated>
      <SignIn />
    </Unauthenticated>
  </ConvexAuthProvider>,
);
