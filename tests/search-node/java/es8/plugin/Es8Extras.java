import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.Build;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.ActionRequestValidationException;
import org.elasticsearch.action.ActionResponse;
import org.elasticsearch.action.ActionType;
import org.elasticsearch.action.datastreams.CreateDataStreamAction;
import org.elasticsearch.action.datastreams.DataStreamsActionUtil;
import org.elasticsearch.action.datastreams.DeleteDataStreamAction;
import org.elasticsearch.action.datastreams.GetDataStreamAction;
import org.elasticsearch.action.support.ActionFilters;
import org.elasticsearch.action.support.TransportAction;
import org.elasticsearch.action.support.master.AcknowledgedResponse;
import org.elasticsearch.action.support.master.AcknowledgedTransportMasterNodeAction;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.ClusterStateUpdateTask;
import org.elasticsearch.cluster.block.ClusterBlockException;
import org.elasticsearch.cluster.block.ClusterBlockLevel;
import org.elasticsearch.cluster.metadata.DataStream;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.metadata.MetadataCreateDataStreamService;
import org.elasticsearch.cluster.metadata.MetadataCreateDataStreamService.CreateDataStreamClusterStateUpdateRequest;
import org.elasticsearch.cluster.metadata.MetadataDataStreamsService;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.Priority;
import org.elasticsearch.common.Strings;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Setting.Property;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.common.util.concurrent.EsExecutors;
import org.elasticsearch.core.CheckedConsumer;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.Index;
import org.elasticsearch.injection.guice.Inject;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestChannel;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.action.RestToXContentListener;
import org.elasticsearch.tasks.Task;
import org.elasticsearch.threadpool.ThreadPool;
import org.elasticsearch.transport.TransportService;
import org.elasticsearch.xcontent.ToXContentObject;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * As EsExtras, for Elasticsearch 8: GET / and creating, listing and deleting data streams; the index
 * settings of ILM, which do nothing.
 */
public class Es8Extras extends Plugin implements ActionPlugin {
    static final TimeValue WAIT = TimeValue.timeValueSeconds(30);
    static final ActionType<Reply> MAIN = new ActionType<>("cluster:monitor/main");
    static final ActionType<Reply> GET = new ActionType<>(GetDataStreamAction.NAME);

    interface Body { void write(XContentBuilder b) throws IOException; }

    static final class Reply extends ActionResponse implements ToXContentObject {
        final Body body;
        Reply(Body body) { this.body = body; }
        public void writeTo(StreamOutput out) { TransportAction.localOnly(); }
        public XContentBuilder toXContent(XContentBuilder b, Params p) throws IOException {
            b.startObject();
            body.write(b);
            return b.endObject();
        }
    }

    public static final class Empty extends ActionRequest {
        public ActionRequestValidationException validate() { return null; }
    }

    public static final class Main extends TransportAction<Empty, Reply> {
        final ClusterService cluster;

        @Inject
        public Main(TransportService ts, ActionFilters f, ClusterService cluster) {
            super(MAIN.name(), f, ts.getTaskManager(), EsExecutors.DIRECT_EXECUTOR_SERVICE);
            this.cluster = cluster;
        }
        protected void doExecute(Task t, Empty r, ActionListener<Reply> l) {
            ClusterState s = cluster.state();
            Build v = Build.current();
            l.onResponse(new Reply(b -> b.field("name", cluster.getNodeName())
                .field("cluster_name", s.getClusterName().value())
                .field("cluster_uuid", s.metadata().clusterUUID())
                .startObject("version")
                .field("number", v.qualifiedVersion()).field("build_flavor", v.flavor())
                .field("build_type", v.type().displayName()).field("build_hash", v.hash())
                .field("build_date", v.date()).field("build_snapshot", v.isSnapshot())
                .field("lucene_version", org.apache.lucene.util.Version.LATEST.toString())
                .field("minimum_wire_compatibility_version", v.minWireCompatVersion())
                .field("minimum_index_compatibility_version", v.minIndexCompatVersion())
                .endObject()
                .field("tagline", "You Know, for Search")));
        }
    }

    public static final class Create extends AcknowledgedTransportMasterNodeAction<CreateDataStreamAction.Request> {
        final MetadataCreateDataStreamService service;

        @Inject
        public Create(TransportService ts, ClusterService cs, ThreadPool tp, ActionFilters f,
            MetadataCreateDataStreamService service ) {
            super(CreateDataStreamAction.NAME, ts, cs, tp, f, CreateDataStreamAction.Request::new, EsExecutors.DIRECT_EXECUTOR_SERVICE);
            this.service = service;
        }
        protected ClusterBlockException checkBlock(CreateDataStreamAction.Request r, ClusterState s) {
            return s.blocks().globalBlockedException(ClusterBlockLevel.METADATA_WRITE);
        }
        protected void masterOperation(Task t, CreateDataStreamAction.Request r, ClusterState s, ActionListener<AcknowledgedResponse> l) {
            service.createDataStream(
                new CreateDataStreamClusterStateUpdateRequest(r.getName(), null, WAIT, WAIT, true), l);
        }
    }

    public static final class Get extends TransportAction<GetDataStreamAction.Request, Reply> {
        final ClusterService cluster;
        final IndexNameExpressionResolver names;

        @Inject
        public Get(TransportService ts, ActionFilters f, ClusterService cluster , IndexNameExpressionResolver names) {
            super(GetDataStreamAction.NAME, f, ts.getTaskManager(), EsExecutors.DIRECT_EXECUTOR_SERVICE);
            this.cluster = cluster;
            this.names = names;
        }
        protected void doExecute(Task t, GetDataStreamAction.Request r, ActionListener<Reply> l) {
            ActionListener.completeWith(l, () -> {
                ClusterState p = cluster.state();
                List<DataStream> found = new ArrayList<>();
                for (String n : DataStreamsActionUtil.getDataStreamNames(names, p, r.getNames(), r.indicesOptions())) {
                    found.add(p.metadata().dataStreams().get(n));
                }
                return new Reply(b -> {
                    b.startArray("data_streams");
                    for (DataStream d : found) {
                        b.startObject().field("name", d.getName());
                        b.startObject("timestamp_field").field("name", "@timestamp").endObject();
                        b.startArray("indices");
                        for (Index i : d.getIndices()) {
                            b.startObject().field("index_name", i.getName()).field("index_uuid", i.getUUID()).endObject();
                        }
                        b.endArray().field("generation", d.getGeneration()).field("hidden", d.isHidden())
                            .field("system", d.isSystem()).field("replicated", d.isReplicated()).endObject();
                    }
                    b.endArray();
                });
            });
        }
    }

    public static final class Delete extends AcknowledgedTransportMasterNodeAction<DeleteDataStreamAction.Request> {
        final ClusterService cluster;
        final IndexNameExpressionResolver names;

        @Inject
        public Delete(TransportService ts, ClusterService cluster, ThreadPool tp, ActionFilters f ,
            IndexNameExpressionResolver names) {
            super(DeleteDataStreamAction.NAME, ts, cluster, tp, f, DeleteDataStreamAction.Request::new, EsExecutors.DIRECT_EXECUTOR_SERVICE);
            this.cluster = cluster;
            this.names = names;
        }
        protected ClusterBlockException checkBlock(DeleteDataStreamAction.Request r, ClusterState s) {
            return s.blocks().globalBlockedException(ClusterBlockLevel.METADATA_WRITE);
        }
        @SuppressWarnings("deprecation")
        protected void masterOperation(Task t, DeleteDataStreamAction.Request r, ClusterState now, ActionListener<AcknowledgedResponse> l) {
            cluster.submitUnbatchedStateUpdateTask("delete-data-stream", new ClusterStateUpdateTask(Priority.HIGH, WAIT) {
                public ClusterState execute(ClusterState s) {
                                        Set<DataStream> gone = new HashSet<>();
                    for (String n : DataStreamsActionUtil.getDataStreamNames(names, s, r.getNames(), r.indicesOptions())) {
                        gone.add(s.metadata().dataStreams().get(n));
                    }
                    return gone.isEmpty() ? s
                        : MetadataDataStreamsService.deleteDataStreams(s, gone, cluster.getSettings());
                }
                public void clusterStateProcessed(ClusterState a, ClusterState b) { l.onResponse(AcknowledgedResponse.TRUE); }
                public void onFailure(Exception e) { l.onFailure(e); }
            });
        }
    }

    @Override
    public List<Setting<?>> getSettings() {
        return List.of(Setting.simpleString("index.lifecycle.name", Property.Dynamic, Property.IndexScope),
            Setting.simpleString("index.lifecycle.rollover_alias", Property.Dynamic, Property.IndexScope));
    }

    interface Call { CheckedConsumer<RestChannel, Exception> prepare(RestRequest r, NodeClient c); }

    static RestHandler handler(String name, List<RestHandler.Route> routes, Call call) {
        return new BaseRestHandler() {
            public String getName() { return name; }
            public List<Route> routes() { return routes; }
            protected RestChannelConsumer prepareRequest(RestRequest r, NodeClient c) { return call.prepare(r, c)::accept; }
        };
    }

    static RestHandler.Route route(RestRequest.Method m, String path) { return new RestHandler.Route(m, path); }

    @Override
    public Collection<ActionHandler<? extends ActionRequest, ? extends ActionResponse>> getActions() {
        return List.of(new ActionHandler<>(MAIN, Main.class), new ActionHandler<>(CreateDataStreamAction.INSTANCE, Create.class),
            new ActionHandler<>(GET, Get.class), new ActionHandler<>(DeleteDataStreamAction.INSTANCE, Delete.class));
    }

    @Override
    public Collection<RestHandler> getRestHandlers(Settings s, NamedWriteableRegistry w, RestController rc, ClusterSettings cs,
        IndexScopedSettings is, SettingsFilter sf, IndexNameExpressionResolver names, Supplier<DiscoveryNodes> n, Predicate<NodeFeature> f) {
        return List.of(
            handler("main_action", List.of(route(RestRequest.Method.GET, "/"), route(RestRequest.Method.HEAD, "/")), (r, c) -> ch -> {
                if (r.hasParam("pretty") == false) r.params().put("pretty", "");
                c.execute(MAIN, new Empty(), new RestToXContentListener<>(ch));
            }),
            handler("create_data_stream_action", List.of(route(RestRequest.Method.PUT, "/_data_stream/{name}")), (r, c) -> {
                var q = new CreateDataStreamAction.Request(WAIT, WAIT, r.param("name"));
                return ch -> c.execute(CreateDataStreamAction.INSTANCE, q, new RestToXContentListener<>(ch));
            }),
            handler("get_data_streams_action", List.of(route(RestRequest.Method.GET, "/_data_stream"),
                route(RestRequest.Method.GET, "/_data_stream/{name}")), (r, c) -> {
                var q = new GetDataStreamAction.Request(WAIT, Strings.splitStringByCommaToArray(r.param("name", "*")));
                return ch -> c.execute(GET, q, new RestToXContentListener<>(ch));
            }),
            handler("delete_data_stream_action", List.of(route(RestRequest.Method.DELETE, "/_data_stream/{name}")), (r, c) -> {
                var q = new DeleteDataStreamAction.Request(WAIT, Strings.splitStringByCommaToArray(r.param("name")));
                return ch -> c.execute(DeleteDataStreamAction.INSTANCE, q, new RestToXContentListener<>(ch));
            }));
    }
}
